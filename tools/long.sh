#!/usr/bin/env bash
# Prints the value of OS_TEST_LONG for a commit, HEAD by default: the packages of one vendor's drivers, and those of the memory drivers.
# Their suites run whole, and compare their records. A driver of discovery on key-value counts as one of the vendor kv. The hash of the commit chooses the vendor, so that the vendors take turns.
set -euo pipefail
cd "$(dirname "$0")/.."

always=mem
declare -A packages
for record in state/*/*/testdata/contract*.json control/discovery/*/testdata/contract*.json; do
	package=${record%/testdata/*}
	capability=$(basename "$(dirname "$package")")
	vendor=$(basename "$package" "$capability")
	case ",${packages[$vendor]:-}," in
	*",$package,"*) ;;
	*) packages[$vendor]+="${packages[$vendor]:+,}$package" ;;
	esac
done
mapfile -t vendors < <(printf '%s\n' "${!packages[@]}" | grep -vx "$always" | sort)
hash=$(git rev-parse "${1:-HEAD}")
echo "${packages[$always]},${packages[${vendors[$((16#${hash:0:7} % ${#vendors[@]}))]}]}"
