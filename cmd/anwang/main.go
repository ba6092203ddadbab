// Command anwang is the whole of Anwang 安网: server, demo county and tools. See "anwang help".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"anwang/internal/app"
)

var version = "dev" // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(app.Main(ctx, version, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
