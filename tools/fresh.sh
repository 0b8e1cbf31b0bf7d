#!/usr/bin/env bash
# Fails if a generated file is stale: regenerates all files in a copy of the tree, and compares.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOFLAGS="${GOFLAGS:--buildvcs=false}"

# The copy of a checkout always has the same path, so that the build cache knows its packages.
copy="${XDG_CACHE_HOME:-$HOME/.cache}/go-os/fresh-$(printf '%s' "$PWD" | cksum | cut -d ' ' -f 1)"
rm -rf "$copy"
mkdir -p "$copy"
trap 'rm -rf "$copy"' EXIT
git ls-files -co --exclude-standard -z | while IFS= read -r -d '' file; do
	if [ -e "$file" ]; then printf '%s\0' "$file"; fi
done | tar --null -T - -cf - | tar -xf - -C "$copy"
(cd "$copy" && go generate ./...)

stale=0
while IFS= read -r -d '' file; do
	file=${file#"$copy"/}
	if ! diff -u "$file" "$copy/$file"; then
		echo "fresh: $file is stale: run go generate ./..." >&2
		stale=1
	fi
done < <(find "$copy" -type f -print0)
[ "$stale" = 0 ] && echo "fresh: every generated file is what go generate makes"
exit "$stale"
