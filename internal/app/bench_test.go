package app

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/hiddendanger"
)

// benchRows is how many hidden dangers the list benchmark works on; a release uses 1,000,000.
func benchRows(b *testing.B) int {
	if s := os.Getenv("ANWANG_BENCH_ROWS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	return 100_000
}

// load calls the address with n connections for the time and returns requests a second and the latencies, sorted.
func load(b *testing.B, url, token string, n int, d time.Duration) (perSecond float64, took []time.Duration) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n, MaxConnsPerHost: n}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	start := time.Now()
	for range n {
		wg.Go(func() {
			var mine []time.Duration
			for time.Now().Before(end) {
				req, err := http.NewRequest("GET", url, nil)
				if err != nil {
					b.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+token)
				at := time.Now()
				res, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != 200 {
					b.Errorf("%d %v", res.StatusCode, err)
					return
				}
				mine = append(mine, time.Since(at))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(took)
	return float64(len(took)) / time.Since(start).Seconds(), took
}

func at(took []time.Duration, quantile float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	return took[int(float64(len(took)-1)*quantile)]
}

// fillDangers writes rows straight into the table: they are for reading, not for proving.
func fillDangers(b *testing.B, w *world, n int) {
	b.Helper()
	states := []string{"found", "ordered", "rectifying", "submitted", "closed", "closed", "closed", "closed"}
	towns := []string{renli, qidu, "341722102000", "341722103000", "341702001000", "341702002000", "350581001000", "350581002000"}
	lines := []string{"gas", "industryTrade", "construction", "fire"}
	for done := 0; done < n; {
		rows := make([]hiddendanger.Danger, min(2000, n-done))
		for i := range rows {
			k := done + i
			d := &rows[i]
			d.ID, d.Origin, d.Version = w.clock.NewID(), "341722", 1
			d.CreatedAt, d.UpdatedAt = w.clock.Now(), w.clock.Now()
			d.Place = scope.At(towns[k%len(towns)], lines[k/7%4], "")
			d.No, d.Title, d.Location, d.Source = fmt.Sprintf("B%09d", k), "配电箱前堆放纸箱遮挡操作通道", "一号库房东侧", "patrol"
			d.Level, d.State = "general", hiddendanger.Found
			if k%50 == 0 {
				d.Level = "major"
			}
			d.State = flow.State(states[k*7919%len(states)])
			d.FoundAt = w.clock.Now().Add(-time.Duration(k*7907%31_536_000) * time.Second)
			if d.State != hiddendanger.Found {
				d.DueAt = d.FoundAt.AddDate(0, 0, 15)
			}
			d.EnterpriseName = "石台某某企业有限公司"
		}
		w.must(w.Kernel.DB.Tx(b.Context(), func(ctx context.Context) error {
			_, err := w.Kernel.DB.Conn(ctx).NewInsert().Model(&rows).Exec(ctx)
			return err
		}))
		done += len(rows)
	}
	w.must(w.Kernel.DB.Tx(b.Context(), func(ctx context.Context) error {
		_, err := w.Kernel.DB.Conn(ctx).ExecContext(ctx, "ANALYZE hiddendanger_item")
		return err
	}))
}

// BenchmarkList reads a page of 20 of the county's dangers, filtered and sorted, and compares it with the same SQL written by hand behind net/http, in the same process on the same
// database.
func BenchmarkList(b *testing.B) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		for _, rows := range []int{10_000, benchRows(b)} {
			b.Run(fmt.Sprintf("%s/%d", engine, rows), func(b *testing.B) {
				w := newWorld(b, engine)
				fillDangers(b, w, rows)
				token := w.token("office")
				byHand := httptest.NewServer(handHandler(b, w))
				defer byHand.Close()
				const query = "/api/v1/hidden-dangers?state=rectifying&sort=-foundAt&limit=20"
				for b.Loop() {
					load(b, w.server.URL+query, token, 8, time.Second) // warm
					handRate, hand := load(b, byHand.URL, "", 50, 4*time.Second)
					rate, took := load(b, w.server.URL+query, token, 50, 4*time.Second)
					_, one := load(b, w.server.URL+query, token, 1, time.Second)
					_, handOne := load(b, byHand.URL, "", 1, time.Second)
					b.ReportMetric(rate, "req/s")
					b.ReportMetric(handRate, "hand-req/s")
					b.ReportMetric(ms(at(took, .5)), "p50-ms")
					b.ReportMetric(ms(at(took, .99)), "p99-ms")
					b.ReportMetric(ms(at(hand, .99)), "hand-p99-ms")
					b.ReportMetric(ms(at(one, .5)), "alone-p50-ms")
					b.ReportMetric(ms(at(handOne, .5)), "hand-alone-p50-ms")
					b.ReportMetric(handRate/rate, "x-hand")
				}
			})
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// handHandler answers with the same page by SQL written by hand: the same two statements that the list runs, scanned and encoded with the standard library.
func handHandler(b *testing.B, w *world) http.Handler {
	b.Helper()
	driver, dsn := "sqlite", "file:"+w.Config.target()+"?_pragma=query_only(1)&_pragma=cache_size(-65536)&_pragma=mmap_size(268435456)"
	if w.Kernel.DB.Engine == db.Postgres {
		driver, dsn = "pgx", w.Config.DB
	}
	pool, err := sql.Open(driver, dsn)
	w.must(err)
	pool.SetMaxOpenConns(map[db.Engine]int{db.SQLite: 8, db.Postgres: 24}[w.Kernel.DB.Engine])
	pool.SetMaxIdleConns(24)
	b.Cleanup(func() { pool.Close() })
	where := fmt.Sprintf("r.county_code = '%s' AND r.state = 'rectifying'", county)
	page := `SELECT r.id, r.no, r.title, r.level, r.state, r.source, r.category, r.enterprise_name, r.enterprise_id, r.division, r.line, r.location, r.found_at, r.due_at, r.escalated_to,
		r.listed, r.repeat_count, r.updated_at, r.version FROM hiddendanger_item AS r WHERE ` + where + ` ORDER BY r.found_at DESC, r.id DESC LIMIT 21`
	count := `SELECT count(*) FROM (SELECT 1 FROM hiddendanger_item AS r WHERE ` + where + ` LIMIT 1001) AS t`
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rows, err := pool.QueryContext(r.Context(), page)
		if err != nil {
			http.Error(rw, err.Error(), 500)
			return
		}
		defer rows.Close()
		var out []hiddendanger.Row
		for rows.Next() {
			var x hiddendanger.Row
			var found, updated string
			var due *string
			if err := rows.Scan(&x.ID, &x.No, &x.Title, &x.Level, &x.State, &x.Source, &x.Category, &x.EnterpriseName, &x.EnterpriseID, &x.Division, &x.Line, &x.Location,
				&found, &due, &x.EscalatedTo, &x.Listed, &x.RepeatCount, &updated, &x.Version); err != nil {
				http.Error(rw, err.Error(), 500)
				return
			}
			x.FoundAt, _ = time.Parse(db.TimeLayout, found)
			x.UpdatedAt, _ = time.Parse(db.TimeLayout, updated)
			if due != nil {
				x.DueAt, _ = time.Parse(db.TimeLayout, *due)
			}
			out = append(out, x)
		}
		if err := rows.Err(); err != nil {
			http.Error(rw, err.Error(), 500)
			return
		}
		var total int
		if err := pool.QueryRowContext(r.Context(), count).Scan(&total); err != nil {
			http.Error(rw, err.Error(), 500)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(rw).Encode(map[string]any{"items": out, "total": total}); err != nil {
			b.Log(err)
		}
	})
}

// BenchmarkCreate registers hidden dangers with 16 clients, each with an Idempotency-Key: scope, number, repetition, row, log entry, remembered answer, commit on disk.
func BenchmarkCreate(b *testing.B) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			w := newWorld(b, engine)
			token := w.token("grid")
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
			var serial atomic.Int64
			for b.Loop() {
				var wg sync.WaitGroup
				var done atomic.Int64
				start := time.Now()
				for range 16 {
					wg.Go(func() {
						for time.Since(start) < 6*time.Second {
							n := serial.Add(1)
							req, err := http.NewRequest("POST", w.server.URL+"/api/v1/hidden-dangers", strings.NewReader(fmt.Sprintf(
								`{"source":"patrol","title":"配电箱前堆放纸箱遮挡","location":"一号库房第%d排","category":"electric","enterpriseId":"%s"}`, n, w.gas)))
							if err != nil {
								b.Error(err)
								return
							}
							req.Header.Set("Authorization", "Bearer "+token)
							req.Header.Set("Content-Type", "application/json")
							req.Header.Set("Idempotency-Key", fmt.Sprintf("bench-%d", n))
							res, err := client.Do(req)
							if err != nil {
								b.Error(err)
								return
							}
							body, _ := io.ReadAll(res.Body)
							res.Body.Close()
							if res.StatusCode != 201 {
								b.Errorf("%d %s", res.StatusCode, body)
								return
							}
							done.Add(1)
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(done.Load())/time.Since(start).Seconds(), "creates/s")
			}
			w.must(w.Kernel.Log.Flush(b.Context()))
			report, err := w.Kernel.Log.Verify(b.Context(), w.Kernel.Records.Tables(), nil)
			w.must(err)
			if !report.OK() {
				b.Errorf("log: %+v", report.Findings)
			}
			b.ReportMetric(float64(report.Leaves)/report.Took.Seconds(), "verified-leaves/s")
		})
	}
}
