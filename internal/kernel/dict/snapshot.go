package dict

import (
	"slices"
	"strings"
	"time"

	"anwang/internal/kernel/errs"
)

// snapshot is all tables as they were at one moment. It never changes.
type snapshot struct {
	state int64
	kinds map[string]*table
}

type table struct {
	items    []*Item            // by sort, code, newest period first
	byCode   map[string][]*Item // newest period first
	children map[string][]*Item // by parent, in the order of items
}

var noTable = &table{}

// newSnapshot takes items in the order in which tables hold them.
func newSnapshot(state int64, items []*Item) *snapshot {
	s := &snapshot{state: state, kinds: map[string]*table{}}
	for _, i := range items {
		t := s.kinds[i.Kind]
		if t == nil {
			t = &table{byCode: map[string][]*Item{}, children: map[string][]*Item{}}
			s.kinds[i.Kind] = t
		}
		t.items = append(t.items, i)
		t.byCode[i.Code] = append(t.byCode[i.Code], i)
		t.children[i.Parent] = append(t.children[i.Parent], i)
	}
	for _, t := range s.kinds {
		for _, periods := range t.byCode {
			slices.SortStableFunc(periods, func(a, b *Item) int { return strings.Compare(b.EffectiveFrom, a.EffectiveFrom) })
		}
	}
	return s
}

func (d *Dict) table(kind string) *table {
	if t := d.now.Load().kinds[kind]; t != nil {
		return t
	}
	return noTable
}

// on is the item of a code that is in force on the day; nil when there is none.
func (t *table) on(code, day string) *Item {
	for _, i := range t.byCode[code] {
		if i.InForce(day) {
			return i
		}
	}
	return nil
}

// known is the item of a code that tells best what it means on the day: the one in force, else the last one before, else the
// first one to come; nil for a code that never existed.
func (t *table) known(code, day string) *Item {
	periods := t.byCode[code]
	if i := t.on(code, day); i != nil || len(periods) == 0 {
		return i
	}
	for _, i := range periods {
		if i.EffectiveFrom <= day {
			return i
		}
	}
	return periods[len(periods)-1]
}

// Label is what a code is called today. A code that is out of use keeps its last label; one that never existed is shown as it is, so that a
// page never shows a blank.
func (d *Dict) Label(kind, code string) string { return d.LabelOn(kind, code, time.Time{}) }

// LabelOn is what a code was called on the day of on.
func (d *Dict) LabelOn(kind, code string, on time.Time) string {
	if i := d.table(kind).known(code, d.day(on)); i != nil {
		return i.Label
	}
	return code
}

// Item is the item of a code that is in force on the day of on (zero: today), or nil.
func (d *Dict) Item(kind, code string, on time.Time) *Item { return d.table(kind).on(code, d.day(on)) }

// Valid refuses a code that may not be chosen on the day of on (zero: today). The error is an invalid errs.Error without a field: the
// caller, who knows it, adds the pointer with At.
func (d *Dict) Valid(kind, code string, on time.Time) error {
	day := d.day(on)
	t := d.table(kind)
	if t.on(code, day) != nil {
		return nil
	}
	title := kind
	if k, ok := d.kind(kind); ok {
		title = k.Title
	}
	i := t.known(code, day)
	switch {
	case i == nil:
		return errs.Invalid("dict.unknown", "“"+title+"”中没有代码“"+clip(code)+"”，请从列表中选择。")
	case !i.Active:
		return errs.Invalid("dict.inactive", "“"+title+"”中的“"+i.Label+"”已停用，请另选一项。")
	case day < i.EffectiveFrom:
		return errs.Invalid("dict.notYet", "“"+title+"”中的“"+i.Label+"”自"+i.EffectiveFrom+"起才有效，请另选一项。")
	}
	return errs.Invalid("dict.expired", "“"+title+"”中的“"+i.Label+"”有效期至"+i.EffectiveTo+"，请另选一项。")
}

// clip keeps hostile input out of messages.
func clip(code string) string {
	const most = 40
	if r := []rune(code); len(r) > most {
		return string(r[:most]) + "…"
	}
	return code
}

// Items lists what may be chosen on the day of on (zero: today), in order.
func (d *Dict) Items(kind string, on time.Time) []*Item {
	return inForce(d.table(kind).items, d.day(on))
}

// Children lists what lies right below a code on the day of on (zero: today); below "" lie the tops.
func (d *Dict) Children(kind, code string, on time.Time) []*Item {
	return inForce(d.table(kind).children[code], d.day(on))
}

func inForce(items []*Item, day string) []*Item {
	var out []*Item
	for _, i := range items {
		if i.InForce(day) {
			out = append(out, i)
		}
	}
	return out
}

// Ancestors lists what lies above a code on the day of on (zero: today), the top first and without the code itself.
func (d *Dict) Ancestors(kind, code string, on time.Time) []*Item {
	day := d.day(on)
	t := d.table(kind)
	var out []*Item
	for i := t.known(code, day); i != nil && i.Parent != ""; {
		if i = t.known(i.Parent, day); i == nil || slices.Contains(out, i) {
			break
		}
		out = append(out, i)
	}
	slices.Reverse(out)
	return out
}

// Search lists up to limit items in force today whose code begins with q or whose label contains it, letters of either case; those whose
// code or label begins with q come first. An empty q finds nothing.
func (d *Dict) Search(kind, q string, limit int) []*Item {
	q = strings.ToLower(strings.TrimSpace(q))
	if q == "" {
		return nil
	}
	day := d.day(time.Time{})
	var first, rest []*Item
	for _, i := range d.table(kind).items {
		if !i.InForce(day) {
			continue
		}
		label := strings.ToLower(i.Label)
		switch {
		case strings.HasPrefix(strings.ToLower(i.Code), q), strings.HasPrefix(label, q):
			first = append(first, i)
		case strings.Contains(label, q):
			rest = append(rest, i)
		}
	}
	out := append(first, rest...)
	return out[:min(max(limit, 0), len(out))]
}
