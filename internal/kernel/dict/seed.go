package dict

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
)

// seal is the item's first day and a digest of what it says. An item whose Shipped is still its own seal has not been edited; the day
// in it finds the item again when somebody has moved its period.
func (i *Item) seal() string {
	b, err := json.Marshal([]any{i.Kind, i.Code, i.Parent, i.Label, i.Sort, i.EffectiveFrom, i.EffectiveTo, i.Clause, i.Mark, i.Extra, i.Active})
	if err != nil {
		panic(err) // strings, numbers and a map of strings
	}
	sum := sha256.Sum256(b)
	return i.EffectiveFrom + "#" + hex.EncodeToString(sum[:12])
}

func (i *Item) normalise() {
	if i.Extra == nil {
		i.Extra = map[string]string{}
	}
}

// CSV reads the items of a Kind from a table file with a header row. The columns code and label must be there; parent, sort, from, to, clause
// and mark may be; every other column goes into Extra, when the cell is not empty. Without a column sort, items keep the order of the file.
func CSV(files fs.FS, name string) func() ([]Item, error) {
	return func() ([]Item, error) {
		rows, err := readCSV(files, name)
		if err != nil {
			return nil, err
		}
		items := make([]Item, len(rows))
		for n, row := range rows {
			i := Item{Sort: n + 1, Extra: map[string]string{}}
			for column, cell := range row {
				switch column {
				case "code":
					i.Code = cell
				case "label":
					i.Label = cell
				case "parent":
					i.Parent = cell
				case "from":
					i.EffectiveFrom = cell
				case "to":
					i.EffectiveTo = cell
				case "clause":
					i.Clause = cell
				case "mark":
					i.Mark = cell
				case "sort":
					if i.Sort, err = strconv.Atoi(cell); err != nil {
						return nil, fmt.Errorf("%s: item %d: sort: %w", name, n+1, err)
					}
				default:
					if cell != "" {
						i.Extra[column] = cell
					}
				}
			}
			items[n] = i
		}
		return items, nil
	}
}

// readCSV returns the rows of a table file as maps from column to cell.
func readCSV(files fs.FS, name string) ([]map[string]string, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: no header row", name)
	}
	rows := make([]map[string]string, len(lines)-1)
	for n, line := range lines[1:] {
		rows[n] = make(map[string]string, len(line))
		for c, cell := range line {
			rows[n][lines[0][c]] = cell
		}
	}
	return rows, nil
}

// Seed writes what the program ships and the tables lack, and corrects shipped items that nobody has edited. It never touches an edited
// item. It may be called at every start, and by several processes at once.
func (d *Dict) Seed(ctx context.Context) error {
	ctx = actor.AsSystem(ctx, "dict")
	shipped, err := d.shipped()
	if err != nil {
		return err
	}
	const chunk = 300 // holds the writer of SQLite for some 40 ms
	for lost := 0; ; {
		if err := d.Refresh(ctx); err != nil {
			return err
		}
		todo := d.lacking(shipped)
		if len(todo) == 0 {
			return nil
		}
		err := d.db.Tx(ctx, func(ctx context.Context) error { return d.ship(ctx, todo[:min(chunk, len(todo))]) })
		if _, taken := db.UniqueViolation(err); taken || (err != nil && errs.KindOf(err) == errs.KindConflict) {
			// Another process is seeding too: look at what it has done, and go on with the rest.
			if lost++; lost < 100 {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("seed code tables: %w", err)
		}
	}
}

// shipped collects the items of all kinds, each sealed.
func (d *Dict) shipped() ([]*Item, error) {
	var all []*Item
	for _, k := range d.kinds {
		if k.Seed == nil {
			continue
		}
		items, err := k.Seed()
		if err != nil {
			return nil, fmt.Errorf("code table %s: %w", k.Key, err)
		}
		for n := range items {
			i := &items[n]
			i.Kind, i.Active = k.Key, true
			i.normalise()
			if problem := check(k, i); problem != nil {
				return nil, fmt.Errorf("code table %s: item %q: %w", k.Key, i.Code, problem)
			}
			i.Shipped = i.seal()
			all = append(all, i)
		}
	}
	return all, nil
}

// lacking returns the items to insert, and with the head of the stored row those to correct.
func (d *Dict) lacking(shipped []*Item) []*Item {
	var todo []*Item
	for _, i := range shipped {
		stored := d.table(i.Kind).shippedAs(i)
		switch {
		case stored == nil:
			todo = append(todo, i)
		case stored.Shipped != i.Shipped && stored.Shipped == stored.seal(): // ours is newer, and nobody has edited theirs
			i.Head = stored.Head
			todo = append(todo, i)
		}
	}
	return todo
}

// shippedAs is the stored item that has the place of a shipped one, or nil.
func (t *table) shippedAs(i *Item) *Item {
	for _, stored := range t.byCode[i.Code] {
		if stored.EffectiveFrom == i.EffectiveFrom || strings.HasPrefix(stored.Shipped, i.EffectiveFrom+"#") {
			return stored
		}
	}
	return nil
}

func (d *Dict) ship(ctx context.Context, items []*Item) error {
	for _, i := range items {
		fresh := *i // a transaction that is tried again must not meet a version that was never stored
		if i.Version > 0 {
			if err := d.items.Update(ctx, &fresh, record.Change{Fact: "dict.corrected", Title: "随新版程序更正代码"}); err != nil {
				return err
			}
		} else if err := d.items.Insert(ctx, &fresh, record.Change{Fact: "dict.shipped", Title: "随程序带入代码"}); err != nil {
			return err
		}
	}
	return nil
}
