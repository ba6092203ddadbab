package grid_test

import (
	"context"
	"fmt"
	"testing"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/module/grid"
)

// A county's week: the tasks of 2,000 places.
func BenchmarkPlan(b *testing.B) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := open(b, kerneltest.Open(b, engine, parts...))
				w.grid(b)
				ctx := actor.AsSystem(b.Context(), "bench")
				err := w.db.Tx(ctx, func(ctx context.Context) error {
					for i := range 2000 {
						if err := w.Learn(ctx, grid.Enterprise{ID: fmt.Sprint(i), Version: 1, Name: fmt.Sprint(i), Division: village, Class: "highRisk", Lon: ptr(117.5), Lat: ptr(30.2)}); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if n, err := w.Plan(ctx); err != nil || n != 2000 {
					b.Fatal(n, err)
				}
			}
		})
	}
}
