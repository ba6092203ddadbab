// Package event carries what happened from the log to whoever reacts to it: once the transaction of a use case is on disk, every
// subscription gets the event, however often a process dies in between.
//
// # The way of an event
//
// An entry of the log that has a body is an event (kernel/audit). The relay reads the log in its sequence and publishes into the JetStream
// stream "EVENTS", under the subject ev.<node>.<kind>. Each [Subscription] is a durable consumer of that stream. Its handler runs in
// a transaction that first records (event, subscription): a repeat does nothing. A handler that fails is tried again with
// growing pauses; after the last attempt the event is parked, where operators see it and [Bus.Retry] or [Bus.Discard] it.
//
// # What holds
//
//   - Nothing is lost and the effect of a handler on the database happens once: through kill -9 at any moment, and through the loss of
//     the stream itself, which the relay fills again from the log. Effects outside the database may happen twice.
//   - The stream has the log's order. The relay publishes with the stream's last sequence as a condition, so neither a hole
//     nor a late message of a relay that was thought dead can get in between.
//   - A subscription sees events in that order, one at a time, unless it asks for more concurrency. An event that is being tried again
//     holds up the later ones; a parked one does not. Replay and retry come late by nature: handlers compare versions.
//   - A subscription that is new to an installation begins with what happens after; [Bus.Replay] gives it the past.
//   - NATS being away delays events and disturbs nothing else. [Bus.Lag] tells by how much.
//
// # Known weakness
//
// The stream keeps an event for Config.MaxAge. A subscription that handles nothing for longer than that loses events and needs a
// Replay. A full stream makes the relay wait for the slowest subscription rather than overtake it, but it does not wait for consumers
// on other servers (sources of a higher level).
// Replay keeps order with live delivery only within its own process.
package event

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the tables of event delivery. They belong after those of audit.
var Migrations = db.Migrations{Part: "event", Files: files}

// Meta says what happened, to which record, by whom. Data are the particulars of the act, such as the step's input.
type Meta struct {
	ID         string          `json:"id"`  // of the log entry, UUIDv7
	Seq        int64           `json:"seq"` // place in the log of the node
	At         time.Time       `json:"at"`
	Node       string          `json:"node"` // where it happened
	Kind       string          `json:"kind"` // "hiddendanger.assigned"
	Title      string          `json:"title"`
	RecordType string          `json:"recordType"`
	RecordID   string          `json:"recordId"`
	Version    int64           `json:"version"` // of the record after the change
	Actor      Actor           `json:"actor"`
	Data       json.RawMessage `json:"data,omitempty"`
}

// Actor is who did it.
type Actor struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Event is a fact with the whole record after the change.
type Event struct {
	Meta
	Body json.RawMessage `json:"body,omitempty"`
}

// Subscription is one part's interest in some kinds of event.
type Subscription struct {
	// Name is "module/what-it-does" ("notify/hiddendanger-assigned"), of letters, digits and hyphens. It must not change: it is the
	// name under which the installation remembers what was handled.
	Name string
	// Kinds lists what is delivered: "hiddendanger.assigned", "hiddendanger.*", or ">" for everything. A "*" stands for one part
	// between dots, a ">" at the end for one or more. No event may match two of them.
	Kinds []string
	// Handle reacts to one event, in a transaction (db.Conn(ctx) is that transaction), as the system. Returning an error undoes
	// it and has the event delivered again later. It should be short and must not wait for the network: slow work is a job, enqueued here.
	Handle func(ctx context.Context, e Event) error
	// MaxAttempts is how often an event is tried before it is parked; 0 means 6, which takes about four minutes.
	MaxAttempts int
	// Concurrency is how many events may be handled at once, over all processes; 0 means 1, which keeps the log's order.
	Concurrency int
}

// On makes a subscription whose handler gets the body as a T, the type of the record as its module's api package declares it.
func On[T any](name string, kinds []string, handle func(ctx context.Context, m Meta, body T) error) Subscription {
	return Subscription{Name: name, Kinds: kinds, Handle: func(ctx context.Context, e Event) error {
		var body T
		if err := json.Unmarshal(e.Body, &body); err != nil {
			return fmt.Errorf("body of %s: %w", e.Kind, err)
		}
		return handle(ctx, e.Meta, body)
	}}
}

// fromRow makes the event of a log entry.
func fromRow(r *audit.Row) Event {
	e := Event{Meta: Meta{
		ID: r.ID, Seq: *r.Seq, At: r.Time(), Node: r.Node, Kind: r.Kind, Title: r.Title,
		RecordType: r.RecordType, RecordID: r.RecordID, Version: r.Version,
		Actor: Actor{r.ActorKind, r.ActorID, r.ActorName}, Data: r.Data,
	}}
	if r.Body != nil {
		e.Body = json.RawMessage(*r.Body)
	}
	return e
}

// Subjects. The node comes first so that leaf nodes of one network never publish on each other's subjects: with a common prefix every
// level would store every message twice.

func allSubjects(node string) string { return "ev." + token(node) + ".>" }

func subject(node, kind string) string {
	parts := strings.Split(kind, ".")
	for i, p := range parts {
		parts[i] = token(p)
	}
	return "ev." + token(node) + "." + strings.Join(parts, ".")
}

// filter is the subject of a pattern of kinds.
func filter(node, kinds string) string { return "ev." + token(node) + "." + kinds }

// token makes s one part of a subject, so that no entry, however oddly named, can stop the relay.
func token(s string) string {
	if s == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(".*>", r) {
			return '_'
		}
		return r
	}, s)
}

func (s *Subscription) check() {
	valid := regexp.MustCompile(`^[A-Za-z0-9-]+/[A-Za-z0-9-]+$`)
	pattern := regexp.MustCompile(`^([A-Za-z0-9_-]+|\*)(\.([A-Za-z0-9_-]+|\*))*(\.>)?$|^>$`)
	if !valid.MatchString(s.Name) || s.Handle == nil || len(s.Kinds) == 0 {
		panic(fmt.Sprintf("event: subscription %q needs a name like module/what-it-does, kinds and a handler", s.Name))
	}
	for _, k := range s.Kinds {
		if !pattern.MatchString(k) {
			panic(fmt.Sprintf("event: subscription %s: bad kind %q", s.Name, k))
		}
	}
	for i, k := range s.Kinds {
		for _, other := range s.Kinds[:i] {
			if server.SubjectsCollide(k, other) {
				panic(fmt.Sprintf("event: subscription %s: %q and %q overlap", s.Name, other, k))
			}
		}
	}
	if s.MaxAttempts == 0 {
		s.MaxAttempts = 6
	}
	if s.Concurrency == 0 {
		s.Concurrency = 1
	}
}
