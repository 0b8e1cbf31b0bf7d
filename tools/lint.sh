#!/usr/bin/env bash
# Runs gofmt, vet and staticcheck on all our modules, and govulncheck on the one that users import. tools/go.mod pins the linters.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOFLAGS="${GOFLAGS:--buildvcs=false}"

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	printf 'lint: not formatted; run gofmt -w on:\n%s\n' "$unformatted" >&2
	exit 1
fi
echo "lint: gofmt: clean"

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -C tools -o "$bin/" honnef.co/go/tools/cmd/staticcheck

for module in . internal/tooling/bench internal/tooling/bench/routers internal/tooling/engines/otelcol tools/protogen; do
	(
		cd "$module"
		go vet ./...
		"$bin/staticcheck" ./...
	)
	echo "lint: vet, staticcheck: $module: clean"
done

sh tools/vulncheck.sh
