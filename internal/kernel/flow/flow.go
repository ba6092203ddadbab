// Package flow declares state machines as Go values and fires their steps.
//
// A [Step] says from which states it leads where, which permission it needs, who may not take it although permitted, and what it does to the record.
// [Machine.Fire] does the rest, always in this order and in one transaction: load in scope, compare the version that the caller read, check state and
// guard, do, set the state, store. The store writes history, log entry and event (kernel/record), so a step cannot be taken without a trace.
//
// [Define] refuses a machine that cannot be right: a state that no step leads to, a state without a way out that is not final, a step without a
// permission. There is no process designer and no script: what differs between places is data that a Do function reads.
package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// State is a state's name, as stored and as in the API: "rectifying".
type State string

// Read is the version of the record that the caller was looking at. Embed it in every step's input.
type Read struct {
	Version int64 `json:"version" minimum:"1" doc:"所依据的记录版本；若已被他人修改则拒绝"`
}

// ReadVersion is the version that the caller read.
func (r Read) ReadVersion() int64 { return r.Version }

// Input is a step's input: a struct that embeds Read.
type Input interface{ ReadVersion() int64 }

// Record is a placed record that has a state.
type Record[T any] interface {
	record.Pointer[T]
	scope.Placed
	// FlowState points to the record's state.
	FlowState() *State
}

// Step is one way to go on, with input In.
type Step[T any, In Input] struct {
	Name  string  // "assign": in the path and in the log
	Title string  // "下达整改": on the button and in the log
	Fact  string  // the event: "hiddendanger.assigned"
	Need  string  // permission; its reach must include the record
	From  []State // in which states it is offered
	// To are the states it may lead to. With one, Fire sets it; with several, Do sets one of them; with none, the state stays.
	To []State
	// Guard refuses an actor or a record although permission and state are right: whoever rectifies does not verify. May be nil.
	Guard func(ctx context.Context, r *T) error
	// Do changes the record by the input. It runs inside the transaction and may call other parts of the kernel. May be nil.
	Do func(ctx context.Context, r *T, in In) error
	// Hidden steps are taken by the program and are not offered as actions.
	Hidden bool
}

// Any is a step without its input's type.
type Any[T any] interface {
	info() info[T]
}

type info[T any] struct {
	Name, Title, Fact, Need string
	From, To                []State
	Guard                   func(ctx context.Context, r *T) error
	Hidden                  bool
}

func (s Step[T, In]) info() info[T] {
	return info[T]{s.Name, s.Title, s.Fact, s.Need, s.From, s.To, s.Guard, s.Hidden}
}

// Spec declares a machine.
type Spec struct {
	Name    string // "hiddendanger"
	Title   string // "隐患治理"
	Initial []State
	Final   []State
	Titles  map[State]string // every state's Chinese name
}

// Machine is a checked state machine over the records of a store.
type Machine[T any, P Record[T]] struct {
	Spec
	store *record.Store[T, P]
	db    *db.DB
	steps []info[T]
}

// Define checks the declaration and returns the machine. It panics when the machine cannot be right.
func Define[T any, P Record[T]](d *db.DB, store *record.Store[T, P], spec Spec, steps ...Any[T]) *Machine[T, P] {
	m := &Machine[T, P]{Spec: spec, store: store, db: d}
	fail := func(format string, args ...any) { panic("flow " + spec.Name + ": " + fmt.Sprintf(format, args...)) }
	known := func(s State) {
		if spec.Titles[s] == "" {
			fail("state %q has no title", s)
		}
	}
	reached := slices.Clone(spec.Initial)
	leaves := map[State]bool{}
	for _, s := range steps {
		i := s.info()
		if i.Name == "" || i.Title == "" || i.Fact == "" || i.Need == "" {
			fail("step %q needs a name, a title, a fact and a permission", i.Name)
		}
		if slices.ContainsFunc(m.steps, func(o info[T]) bool { return o.Name == i.Name }) {
			fail("two steps %q", i.Name)
		}
		for _, st := range slices.Concat(i.From, i.To) {
			known(st)
		}
		for _, st := range i.From {
			if slices.ContainsFunc(i.To, func(to State) bool { return to != st }) {
				leaves[st] = true
			}
			if len(i.To) > 0 && slices.Contains(spec.Final, st) {
				fail("step %q leaves the final state %q", i.Name, st)
			}
		}
		m.steps = append(m.steps, i)
	}
	for grown := true; grown; {
		grown = false
		for _, i := range m.steps {
			if !slices.ContainsFunc(i.From, func(s State) bool { return slices.Contains(reached, s) }) {
				continue
			}
			for _, to := range i.To {
				if !slices.Contains(reached, to) {
					reached, grown = append(reached, to), true
				}
			}
		}
	}
	for s := range spec.Titles {
		if !slices.Contains(reached, s) {
			fail("state %q cannot be reached", s)
		}
		if !leaves[s] && !slices.Contains(spec.Final, s) {
			fail("state %q is a dead end and not final", s)
		}
	}
	return m
}

// Fire takes a step on the record with the id for the actor in ctx, and returns the record as it is then. What may go wrong is told apart: not found (or out of
// scope), a stale version, a state in which the step is not possible, a guard's refusal, and whatever Do says.
func Fire[T any, P Record[T], In Input](ctx context.Context, m *Machine[T, P], s Step[T, In], id string, in In) (*T, error) {
	var r *T
	err := m.db.Tx(ctx, func(ctx context.Context) (err error) {
		if r, err = m.store.Load(ctx, scope.For(ctx, s.Need), id); err != nil {
			return err
		}
		if err := m.store.CheckVersion(r, in.ReadVersion()); err != nil {
			return err
		}
		return Apply(ctx, m, s, r, in)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Apply takes a step on a record that is already loaded, in the transaction that ctx is in: for steps that the program takes by itself, or that another step
// brings about. Permission and version are the caller's business; state and guard are checked.
func Apply[T any, P Record[T], In Input](ctx context.Context, m *Machine[T, P], s Step[T, In], r *T, in In) error {
	state := P(r).FlowState()
	from := *state
	if !slices.Contains(s.From, from) {
		return errs.Conflict(m.Name+".wrongState", fmt.Sprintf("当前状态为“%s”，不能%s。请刷新后查看最新状态。", m.Titles[from], s.Title))
	}
	if s.Guard != nil {
		if err := s.Guard(ctx, r); err != nil {
			return err
		}
	}
	if s.Do != nil {
		if err := s.Do(ctx, r, in); err != nil {
			return err
		}
	}
	if len(s.To) == 1 {
		*state = s.To[0]
	} else if len(s.To) > 1 && !slices.Contains(s.To, *state) || len(s.To) == 0 && *state != from {
		panic(fmt.Sprintf("flow %s: step %s led to undeclared state %q", m.Name, s.Name, *state))
	}
	return m.store.Update(ctx, r, record.Change{Fact: s.Fact, Title: s.Title, Data: Trace{Step: s.Name, From: from, To: *state, Input: in}})
}

// Trace is the Data of a step's log entry.
type Trace struct {
	Step  string `json:"step"`
	From  State  `json:"from"`
	To    State  `json:"to"`
	Input any    `json:"input,omitempty"`
}

// ParseTrace reads a step's log entry back; ok is false for an entry of another sort.
func ParseTrace(data json.RawMessage) (t Trace, ok bool) {
	err := json.Unmarshal(data, &t)
	return t, err == nil && t.Step != ""
}

// Action is a step that the caller may take now.
type Action struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

// Actions lists the steps that the actor in ctx may take on the record as it stands, in the order of declaration: the buttons on its page.
func (m *Machine[T, P]) Actions(ctx context.Context, r *T) []Action {
	out := []Action{}
	place := *P(r).ScopePlace()
	for _, s := range m.steps {
		if s.Hidden || !slices.Contains(s.From, *P(r).FlowState()) || !actor.From(ctx).Can(s.Need) || !scope.For(ctx, s.Need).Sees(place) {
			continue
		}
		if s.Guard != nil && s.Guard(ctx, r) != nil {
			continue
		}
		out = append(out, Action{s.Name, s.Title})
	}
	return out
}

// Mermaid draws the machine as a Mermaid state diagram, for docs/.
func (m *Machine[T, P]) Mermaid() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n")
	states := make([]State, 0, len(m.Titles))
	for s := range m.Titles {
		states = append(states, s)
	}
	slices.Sort(states)
	for _, s := range states {
		fmt.Fprintf(&b, "  %s: %s\n", s, m.Titles[s])
	}
	for _, s := range m.Initial {
		fmt.Fprintf(&b, "  [*] --> %s\n", s)
	}
	for _, s := range m.steps {
		for _, from := range s.From {
			to := s.To
			if len(to) == 0 {
				to = []State{from}
			}
			for _, t := range to {
				fmt.Fprintf(&b, "  %s --> %s: %s\n", from, t, s.Title)
			}
		}
	}
	for _, s := range m.Final {
		fmt.Fprintf(&b, "  %s --> [*]\n", s)
	}
	return b.String()
}

// Serve adds the operation POST {path}/{id}/{step} for a step. do takes the step and says what the page shows afterwards.
func Serve[T any, In Input, Out any](api *httpx.API, path, tag, recordType string, s Step[T, In], do func(ctx context.Context, id string, in In) (Out, error)) {
	httpx.Register(api, httpx.Op{
		ID: strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "-") + "-" + s.Name, Method: "POST", Path: path + "/{id}/" + s.Name,
		Title: s.Title, Tag: tag, Need: s.Need, Record: recordType,
	}, func(ctx context.Context, in *httpx.ByIDWith[In]) (*httpx.Body[Out], error) {
		out, err := do(ctx, in.ID, in.Body)
		if err != nil {
			return nil, err
		}
		return httpx.Reply(out), nil
	})
}
