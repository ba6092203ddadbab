// Package enterpriseapi is what other modules may know of enterprises 生产经营单位: who they are, where they lie, who supervises them, and what
// has happened to them.
package enterpriseapi

import (
	"context"

	"anwang/internal/kernel/scope"
)

// RecordType names an enterprise's record in the log and in links.
const RecordType = "enterprise.item"

// The states of an enterprise.
const (
	Active    = "active"    // 在业
	Suspended = "suspended" // 停产停业
	Closed    = "closed"    // 注销、吊销、关闭
	Merged    = "merged"    // a duplicate, merged into another file: see MergedInto
	Withdrawn = "withdrawn" // came with an import that was undone
)

// The events of the module. The body of each is the enterprise's record after the change, of which [Enterprise] is a part.
const (
	EventRegistered = "enterprise.registered"
	EventChanged    = "enterprise.changed"  // facts, people, position or supervised line; not the division
	EventMoved      = "enterprise.moved"    // to another division; records that were filed before keep theirs
	EventGraded     = "enterprise.graded"   // class or grade
	EventAssigned   = "enterprise.assigned" // a competent department was stated, or left to the rules again
	EventSuspended  = "enterprise.suspended"
	EventResumed    = "enterprise.resumed"
	EventClosed     = "enterprise.closed"
	EventReopened   = "enterprise.reopened"  // had been closed by mistake
	EventMerged     = "enterprise.merged"    // whatever points here should point to MergedInto from now on
	EventWithdrawn  = "enterprise.withdrawn" // its import was undone: whatever points here should be looked at
)

// Enterprise is what others may rely on. As JSON it is a part of the record, and so of every event's body.
type Enterprise struct {
	ID      string `json:"id"`
	Origin  string `json:"origin"`
	Version int64  `json:"version"`
	scope.Place

	State     string   `json:"state"`
	Name      string   `json:"name"`
	ShortName string   `json:"shortName"`
	USCC      string   `json:"uscc"`     // unified social credit code; empty: Number identifies it
	Number    string   `json:"number"`   // platform number of an enterprise without credit code
	Industry  string   `json:"industry"` // GB/T 4754-2017 with its letter: C2614
	Scale     string   `json:"scale"`    // large, medium, small, micro, or empty when not known
	Class     string   `json:"class"`    // highRisk or general
	Grade     string   `json:"grade"`    // A (best) to D
	Hazards   []string `json:"hazards"`  // codes of the dictionary HazardKind
	Lon       *float64 `json:"lon"`      // WGS-84; nil together with Lat when the position is not known
	Lat       *float64 `json:"lat"`
	Employees int      `json:"employees"`

	// MergedInto is the enterprise that stands for this one since it was merged.
	MergedInto string `json:"mergedInto"`
}

// HazardKind is the dictionary of hazard flags 涉及的重点风险.
const HazardKind = "enterprise.hazard"

// Working reports whether the enterprise is one that is supervised now: neither closed nor merged nor withdrawn.
func (e *Enterprise) Working() bool { return e.State == Active || e.State == Suspended }

// Label is the shortest name that people use.
func (e *Enterprise) Label() string {
	if e.ShortName != "" {
		return e.ShortName
	}
	return e.Name
}

// Selection narrows a list of enterprises. Zero fields do not narrow.
type Selection struct {
	Division string   // 12-digit code; everything below it
	Lines    []string // supervised lines
	Industry string   // prefix of the industry code: C26
	Classes  []string
	Grades   []string
	Scales   []string
	Hazard   string   // has this flag
	States   []string // empty: the working ones
	Located  bool     // only those whose position is known
}

// Finder is how other modules ask for enterprises. The filter is the caller's scope, by the caller's own permission; whatever it does not reach
// is not found.
type Finder interface {
	// Find returns the enterprise with the id, or a not-found error.
	Find(ctx context.Context, f scope.Filter, id string) (*Enterprise, error)
	// FindAll returns those of the ids that the filter reaches, by id.
	FindAll(ctx context.Context, f scope.Filter, ids []string) (map[string]*Enterprise, error)
	// ByUSCC returns the enterprise registered under a credit code, or nil.
	ByUSCC(ctx context.Context, f scope.Filter, uscc string) (*Enterprise, error)
	// Each calls yield with every enterprise that the filter reaches and the selection means, in the order of ids, and stops at its error.
	Each(ctx context.Context, f scope.Filter, s Selection, yield func(*Enterprise) error) error
}
