# Anwang 安网. Two commands do everything: make run, make test.
SHELL := /bin/bash
export GOTOOLCHAIN := local
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOLANGCI := bin/tools/golangci-lint-2.15.0

.DEFAULT_GOAL := help
.PHONY: help run build test test-go test-pg race lint fmt verify generate bench cross clean deps

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: build ## Build and start the demo county; prints its address and accounts
	bin/anwang demo --data demo

build: ## Build bin/anwang
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/anwang ./cmd/anwang

test: deps ## Install what tests need, then run all tests on SQLite and on a real PostgreSQL
	scripts/with-postgres go test ./...

test-go: ## Run all tests without installing anything (PostgreSQL is used when it is there)
	go test ./...

race: deps ## Run the kernel's and the modules' tests with the race detector
	scripts/with-postgres go test -race ./internal/kernel/... ./internal/module/...

deps: ## Install PostgreSQL for the tests, if it is not there
	scripts/install-deps

lint: $(GOLANGCI) ## Check format, vet and the short list of linters
	@test -z "$$(gofmt -l cmd internal)" || { echo "gofmt -w these:"; gofmt -l cmd internal; exit 1; }
	$(GOLANGCI) run ./...

$(GOLANGCI):
	@mkdir -p bin/tools
	GOBIN=$(CURDIR)/bin/tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv bin/tools/golangci-lint $@

fmt: ## Format the code
	gofmt -w cmd internal

generate: build ## Regenerate what is generated: OpenAPI, diagrams, permission table
	bin/anwang openapi > docs/api/openapi.json
	bin/anwang docs --dir docs

verify: generate ## Regenerate, and fail if that changes anything
	@git diff --exit-code -- docs go.mod go.sum || { echo "generated files are stale: run make generate and commit"; exit 1; }

bench: deps ## Run the benchmarks behind docs/performance.md
	scripts/with-postgres scripts/bench

cross: ## Build for the machines that government offices have
	for arch in amd64 arm64 loong64; do echo $$arch; CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -o /dev/null ./cmd/anwang || exit 1; done

clean: ## Remove what was built, and the demo county
	rm -rf bin demo
