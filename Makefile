# The two commands that matter need no Makefile: go run ./examples/shop, go test ./...
# `make check` is what to run before a commit; `make generate` what to run when it complains of stale files.

.PHONY: check fmt vet lint test race generate bench engines

check: fmt vet lint race

fmt:
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "run: gofmt -w ."; exit 1; }

vet:
	go vet ./...

lint:
	tools/lint.sh

test:
	go test ./...

race:
	go test -race ./...

generate:
	go generate ./...

bench:
	cd internal/bench && go run ./table

engines:
	go run ./internal/testenv/cmd/engines
