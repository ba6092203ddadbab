package enterprise

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/importer"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/record"
	"anwang/internal/lib/tabular"
)

// sheet writes an XLSX file of n enterprises and returns its path.
func sheet(t testing.TB, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "企业.xlsx")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var heads []tabular.Column
	for _, title := range []string{"企业名称", "统一社会信用代码", "行业代码", "所在乡镇/村", "经营地址", "注册地址", "经度", "纬度", "坐标系", "企业规模", "法定代表人", "主要负责人", "联系电话", "安全管理人员", "从业人数", "涉及的重点风险"} {
		heads = append(heads, tabular.Column{Title: title})
	}
	x, err := tabular.NewXLSXWriter(f, "企业", heads)
	if err != nil {
		t.Fatal(err)
	}
	industries, towns := []string{"C2614", "C3311", "C1530", "G5431", "F5212", "E4710"}, []string{"仁里镇", "七都镇", "仙寓镇", "丁香镇", "小河镇", "横渡镇"}
	for i := range n {
		name := fmt.Sprintf("石台县%s%d有限公司", []string{"金鑫矿业", "宏达机械", "富民茶业", "顺通运输"}[i%4], i)
		if err := x.Write(name, code(i), industries[i%6], towns[i%6], fmt.Sprintf("%s和平路%d号", towns[i%6], i), fmt.Sprintf("石台县%s和平路%d号", towns[i%6], i),
			strconv.FormatFloat(117.3+float64(i%1000)/5000, 'f', 6, 64), strconv.FormatFloat(30.1+float64(i%777)/5000, 'f', 6, 64), "GCJ-02", []string{"小型", "微型", "中型"}[i%3],
			"王小明", "李大力", fmt.Sprintf("138%08d", i), "赵一、钱二", strconv.Itoa(i%400), []string{"", "涉爆粉尘", "有限空间作业、涉氨制冷"}[i%3]); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// BenchmarkImport imports 100,000 enterprises from an XLSX file, and beside it reads the file with excelize, with the log sequencing and another
// writer asking for a short transaction all the time. ANWANG_IMPORT_ROWS changes the number.
func BenchmarkImport(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv("ANWANG_IMPORT_ROWS"))
	if err != nil {
		n = 100_000
	}
	path := sheet(b, n)
	rate := func(took time.Duration) float64 { return float64(n) / took.Seconds() }
	b.Run("excelize", func(b *testing.B) {
		used := cpu()
		for b.Loop() {
			f, err := excelize.OpenFile(path)
			if err != nil {
				b.Fatal(err)
			}
			rows, err := f.Rows("企业")
			if err != nil {
				b.Fatal(err)
			}
			for rows.Next() {
				if _, err := rows.Columns(); err != nil {
					b.Fatal(err)
				}
			}
			f.Close()
		}
		b.ReportMetric(rate(b.Elapsed()/time.Duration(b.N)), "rows/s")
		b.ReportMetric(float64((cpu()-used).Microseconds())/float64(n*b.N), "cpu-µs/row")
	})
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			for b.Loop() {
				w := open(b, kerneltest.Open(b, engine, parts...))
				if err := w.log.Start(b.Context()); err != nil {
					b.Fatal(err)
				}
				f, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				ctx := w.as("office")
				up, err := w.files.Upload(ctx, "企业.xlsx", f)
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
				v, err := w.Service.imports.Start(ctx, importer.StartInput{FileID: up.ID})
				if err != nil {
					b.Fatal(err)
				}
				run := func(stage string) {
					wait, heap := watch(b, w)
					start, used := time.Now(), cpu()
					if err := w.importer.Work(b.Context(), v.ID, nil); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(rate(time.Since(start)), stage+"-rows/s")
					b.ReportMetric(float64((cpu()-used).Microseconds())/float64(n), stage+"-cpu-µs/row")
					b.ReportMetric(float64(wait().Milliseconds()), stage+"-max-wait-ms")
					b.ReportMetric(heap()/(1<<20), stage+"-heap-MB")
				}
				run("check")
				if v, err = w.Service.imports.Read(ctx, v.ID); err != nil || v.Checked.Create != n {
					b.Fatalf("%+v %v", v, err)
				}
				if _, err := w.Service.imports.Confirm(ctx, v.ID, importer.ConfirmInput{Read: flow.Read{Version: v.Version}}); err != nil {
					b.Fatal(err)
				}
				run("apply")
				if v, err = w.Service.imports.Read(ctx, v.ID); err != nil || v.Applied.Create != n {
					b.Fatalf("%+v %v", v, err)
				}
				if _, err := w.Service.imports.Undo(ctx, v.ID, importer.UndoInput{Read: flow.Read{Version: v.Version}, Reason: "测量"}); err != nil {
					b.Fatal(err)
				}
				run("undo")
				w.log.Stop()
			}
		})
	}
}

// cpu is the processor time that this process has used. The machine is shared, so wall time alone says little.
func cpu() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// watch has another writer ask for a short transaction again and again, and looks at the heap. It returns what ends both: the longest wait, the largest heap.
func watch(b *testing.B, w *world) (wait func() time.Duration, heap func() float64) {
	var longest atomic.Int64
	var most atomic.Uint64
	ctx, stop := context.WithCancel(actor.AsSystem(context.Background(), "other"))
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for ctx.Err() == nil {
			start := time.Now()
			if err := w.db.Tx(ctx, func(ctx context.Context) error {
				return w.log.Append(ctx, audit.Entry{Kind: "test.other", Title: "另一个"})
			}); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
			longest.Store(max(longest.Load(), int64(time.Since(start))))
			time.Sleep(20 * time.Millisecond)
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapInuse))
			time.Sleep(100 * time.Millisecond)
		}
	}()
	return func() time.Duration {
			stop()
			<-done
			<-done
			return time.Duration(longest.Load())
		}, func() float64 {
			return float64(most.Load())
		}
}

// BenchmarkList asks for pages of a list of 100,000 enterprises, half of them in the county of the one who asks.
func BenchmarkList(b *testing.B) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		w := open(b, kerneltest.Open(b, engine, parts...))
		ctx := w.as("office")
		r, err := w.rules(ctx)
		if err != nil {
			b.Fatal(err)
		}
		for at := 0; at < 100_000; at += chunk {
			var rows []*Enterprise
			for i := at; i < at+chunk; i++ {
				e := w.blank()
				name, industry, uscc, place, n := fmt.Sprintf("石台县%s%d有限公司", []string{"金鑫矿业", "宏达机械", "富民茶业"}[i%3], i), []string{"C2614", "C3311", "G5431"}[i%3], code(i), []string{town, otherTown, otherCounty, otherCounty}[i%4], i%300
				var p problems
				r.apply(e, edit{Name: &name, Industry: &industry, Division: &place, Facts: Facts{USCC: &uscc, Employees: &n}}, &p)
				if err := p.err(); err != nil {
					b.Fatal(err)
				}
				rows = append(rows, e)
			}
			batch, err := w.store.PrepareInsert(ctx, rows, func(int, *Enterprise) record.Change { return record.Change{Fact: "x", Title: "x"} })
			if err != nil {
				b.Fatal(err)
			}
			if err := w.db.Tx(ctx, batch.Write); err != nil {
				b.Fatal(err)
			}
			w.db.Clock.Advance(time.Second)
		}
		if err := w.db.Tx(ctx, func(ctx context.Context) error { _, err := w.db.Conn(ctx).ExecContext(ctx, "ANALYZE"); return err }); err != nil {
			b.Fatal(err)
		}
		for name, q := range map[string]ledger.Query{
			"newest": {}, "town": {Filters: map[string]string{"division": town}}, "name": {Sort: "name"}, "grade": {Sort: "-grade"}, "line+grade": {Filters: map[string]string{"line": "hazchem", "grade": "C,D"}},
			"search": {Search: "富民茶业777"}, "code": {Filters: map[string]string{"uscc": code(4000)}}, "exact": {Exact: true},
		} {
			b.Run(string(engine)+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if _, err := w.list.Read(ctx, q); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

const chunk = 500
