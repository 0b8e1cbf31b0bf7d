# The two commands that matter need no Makefile: go run ./examples/shop, go test ./...
# `make check` is what to run before a commit; `make generate` what to run when it complains of stale files.

.PHONY: check lint test race generate bench engines

check: lint race

lint:
	tools/lint.sh

test:
	go test ./...

race:
	go test -race ./...

generate:
	go generate ./...
	tools/fresh.sh

bench:
	cd internal/tooling/bench && go run ./table

engines:
	tools/install-engines.sh
	go run ./internal/tooling/testenv/cmd/engines
