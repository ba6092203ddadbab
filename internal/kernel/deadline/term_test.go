package deadline_test

import (
	"encoding/csv"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/deadline"
)

// at reads "2026-03-11 12:00" or with seconds, in Shanghai.
func at(t testing.TB, s string) time.Time {
	t.Helper()
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05.999"} {
		if v, err := time.ParseInLocation(layout, s, clock.Zone); err == nil {
			return v
		}
	}
	t.Fatalf("bad time %q", s)
	return time.Time{}
}

func term(n int, u deadline.Unit) deadline.Term { return deadline.Term{Amount: n, Unit: u} }

func TestCompute(t *testing.T) {
	t.Parallel()
	const (
		h  = deadline.Hours
		d  = deadline.Days
		wd = deadline.Workdays
		m  = deadline.Months
		y  = deadline.Years
	)
	noRoll := func(n int, u deadline.Unit) deadline.Term { return deadline.Term{Amount: n, Unit: u, NoRoll: true} }
	c := deadline.Shipped()
	for _, tc := range []struct {
		name, start string
		term        deadline.Term
		want        string
		provisional bool
	}{
		{"working days in a plain week", "2026-03-11 12:00", term(2, wd), "2026-03-13 24:00", false},
		{"working days over a weekend", "2026-03-11 12:00", term(7, wd), "2026-03-20 24:00", false},
		{"working days over Spring Festival count its make-up Saturday before", "2026-02-13 10:00", term(5, wd), "2026-02-27 24:00", false},
		{"and the one after", "2026-02-13 10:00", term(7, wd), "2026-03-02 24:00", false},
		{"working days over the National Day week", "2026-09-30 17:00", term(7, wd), "2026-10-15 24:00", false},
		{"a make-up Sunday counts", "2026-09-18 09:00", term(3, wd), "2026-09-22 24:00", false},
		{"working days from a Saturday", "2026-03-14 08:00", term(2, wd), "2026-03-17 24:00", false},
		{"working days from within a holiday", "2026-02-18 08:00", term(1, wd), "2026-02-24 24:00", false},
		{"no working days: the day itself", "2026-03-11 08:00", term(0, wd), "2026-03-11 24:00", false},
		{"working days back from a hearing", "2026-03-20 09:00", term(-7, wd), "2026-03-11 24:00", false},
		{"days back end earlier, not later", "2026-03-17 09:00", term(-3, d), "2026-03-13 24:00", false},

		{"days", "2026-03-11 12:00", term(5, d), "2026-03-16 24:00", false},
		{"days that end in Spring Festival", "2026-02-01 12:00", term(15, d), "2026-02-24 24:00", false},
		{"days that end in Spring Festival and do not roll", "2026-02-01 12:00", noRoll(15, d), "2026-02-16 24:00", false},
		{"days that end on a make-up Saturday", "2026-02-04 12:00", term(10, d), "2026-02-14 24:00", false},
		{"days that end on a plain Saturday", "2026-03-09 12:00", term(5, d), "2026-03-16 24:00", false},
		{"days that end on National Day", "2026-09-01 12:00", term(30, d), "2026-10-08 24:00", false},
		{"days over a leap day", "2024-01-01 12:00", term(60, d), "2024-03-01 24:00", false},
		{"start at 23:59", "2026-03-11 23:59", term(2, d), "2026-03-13 24:00", false},
		{"start in the last instant", "2026-03-11 23:59:59.999", term(2, d), "2026-03-13 24:00", false},
		{"start at 00:00 of the next day", "2026-03-12 00:00", term(2, d), "2026-03-16 24:00", false},
		{"working days from 00:00", "2026-03-12 00:00", term(3, wd), "2026-03-17 24:00", false},

		{"31 January and a month", "2025-01-31 12:00", term(1, m), "2025-02-28 24:00", false},
		{"31 January and a month in a leap year", "2024-01-31 12:00", term(1, m), "2024-02-29 24:00", false},
		{"three months over the year's end", "2025-11-30 12:00", term(3, m), "2026-02-28 24:00", false},
		{"six months", "2026-03-11 12:00", term(6, m), "2026-09-11 24:00", false},
		{"a month that ends on a Sunday", "2026-02-15 12:00", term(1, m), "2026-03-16 24:00", false},
		{"29 February and a year", "2024-02-29 12:00", term(1, y), "2025-02-28 24:00", false},
		{"two years", "2024-03-11 12:00", term(2, y), "2026-03-11 24:00", false},

		{"hours", "2026-03-11 12:34:56", term(1, h), "2026-03-11 13:34", false},
		{"hours over midnight and a holiday", "2026-02-14 23:30", term(24, h), "2026-02-15 23:30", false},
		{"hours over the published years", "2026-12-31 23:30", term(2, h), "2027-01-01 01:30", false},
		{"hours back", "2026-03-11 12:00", term(-24, h), "2026-03-10 12:00", false},
		{"at once", "2026-03-11 12:00", term(0, h), "2026-03-11 12:00", false},

		{"past the published years", "2026-03-11 12:00", term(1, y), "2027-03-11 24:00", true},
		{"past the published years, not asking the calendar", "2026-03-11 12:00", noRoll(1, y), "2027-03-11 24:00", false},
		{"working days past the published years", "2026-12-25 12:00", term(5, wd), "2027-01-01 24:00", true},
		{"the last settled day", "2026-12-25 12:00", term(1, wd), "2026-12-28 24:00", false},
		{"the next notice may move the last days of December", "2026-12-25 12:00", term(2, wd), "2026-12-29 24:00", true},
		{"rolled over the edge of what is settled", "2020-12-31 12:00", term(6, y), "2026-12-31 24:00", true},
		{"back from an unsettled date", "2027-01-04 12:00", term(-5, wd), "2026-12-28 24:00", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			due, provisional := deadline.Compute(at(t, tc.start), tc.term, c)
			if got := deadline.DueText(due, tc.term.Unit); got != tc.want || provisional != tc.provisional {
				t.Errorf("%s + %v = %s, provisional %v; want %s, %v", tc.start, tc.term, got, provisional, tc.want, tc.provisional)
			}
			if due.Location() != time.UTC || due.Nanosecond() != 0 {
				t.Errorf("%v is not in UTC and whole seconds", due)
			}
		})
	}
}

func TestDueIsTheInstantOfTheDaysEnd(t *testing.T) {
	t.Parallel()
	due, _ := deadline.Compute(at(t, "2026-03-11 12:00"), term(2, deadline.Days), deadline.Shipped())
	if want := time.Date(2026, 3, 13, 16, 0, 0, 0, time.UTC); !due.Equal(want) {
		t.Errorf("due %v, want %v", due, want)
	}
	if got := deadline.EndOfDay(at(t, "2026-03-13 00:00")); !got.Equal(due) {
		t.Errorf("EndOfDay %v, want %v", got, due)
	}
}

// TestCalendarAgainstTable counts with another method: date by date through the table's own text.
func TestCalendarAgainstTable(t *testing.T) {
	t.Parallel()
	f, err := os.Open("holidays.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	kind := map[string]string{}
	for _, r := range rows[1:] {
		kind[r[0]] = r[2]
	}
	works := func(d time.Time) bool {
		switch kind[d.Format(time.DateOnly)] {
		case "work":
			return true
		case "off":
			return false
		}
		return d.Weekday() >= time.Monday && d.Weekday() <= time.Friday
	}
	c := deadline.Shipped()
	if c.PublishedThrough() != 2026 {
		t.Fatalf("published through %d", c.PublishedThrough())
	}
	for d := at(t, "2006-12-01 00:00"); d.Year() < 2028; d = d.AddDate(0, 0, 1) {
		if c.IsWorkday(d) != works(d) || c.IsWorkday(d.Add(24*time.Hour-1)) != works(d) {
			t.Fatalf("%s: IsWorkday %v", d.Format(time.DateOnly), c.IsWorkday(d))
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		from := at(t, "2007-01-01 00:00").AddDate(0, 0, random.IntN(19*365)).Add(time.Duration(random.IntN(86400)) * time.Second)
		n := random.IntN(130) + 1
		want, left := clock.Day(from), n
		for left > 0 {
			want = want.AddDate(0, 0, 1)
			if works(want) {
				left--
			}
		}
		got := c.AddWorkdays(from, n)
		if !got.Equal(want) {
			t.Fatalf("%v + %d working days = %v, want %v", from, n, got, want)
		}
		if c.WorkdaysBetween(from, got) != n {
			t.Fatalf("%d working days between %v and %v, want %d", c.WorkdaysBetween(from, got), from, got, n)
		}
		if back := c.AddWorkdays(got, -n); works(clock.Day(from)) && !back.Equal(clock.Day(from)) {
			t.Fatalf("%v back by %d = %v, want %v", got, n, back, clock.Day(from))
		}
		if n == 1 && !c.NextWorkday(from).Equal(want) {
			t.Fatalf("NextWorkday(%v) = %v", from, c.NextWorkday(from))
		}
	}
}

func TestPublishedThroughStopsAtAGap(t *testing.T) {
	t.Parallel()
	c, err := deadline.NewCalendar(nil, []int{2027, 2025, 2029, 2026})
	if err != nil {
		t.Fatal(err)
	}
	if c.PublishedThrough() != 2027 || !c.Settled(at(t, "2027-12-28 23:59")) || c.Settled(at(t, "2027-12-29 00:00")) {
		t.Errorf("published through %d", c.PublishedThrough())
	}
	if none, err := deadline.NewCalendar(nil, nil); err != nil || none.PublishedThrough() != 0 || none.Settled(at(t, "2026-01-01 00:00")) {
		t.Errorf("an empty calendar settles nothing: %v, %v", none.PublishedThrough(), err)
	}
}

func BenchmarkCompute(b *testing.B) {
	c, start := deadline.Shipped(), at(b, "2026-02-13 10:00")
	for _, tm := range []deadline.Term{term(24, deadline.Hours), term(15, deadline.Days), term(7, deadline.Workdays), term(120, deadline.Workdays), term(6, deadline.Months)} {
		b.Run(tm.String(), func(b *testing.B) {
			for b.Loop() {
				deadline.Compute(start, tm, c)
			}
		})
	}
}
