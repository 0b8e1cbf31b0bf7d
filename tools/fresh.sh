#!/usr/bin/env bash
# Fails if a generated file is stale: makes each again and compares.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOFLAGS="${GOFLAGS:--buildvcs=false}"

generated=(docs/telemetry.md examples/shop/ordersv1)
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
for path in "${generated[@]}"; do
	mkdir -p "$before/$(dirname "$path")"
	cp -R "$path" "$before/$(dirname "$path")/"
done
go generate ./...
for path in "${generated[@]}"; do
	if ! diff -ru "$before/$path" "$path"; then
		echo "fresh: $path was stale; it is made again, commit it" >&2
		exit 1
	fi
	echo "fresh: $path"
done
