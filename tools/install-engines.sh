#!/usr/bin/env bash
# Installs the missing test engines that are not Go programs, from Debian's packages: Redis, memcached, PostgreSQL, PgBouncer and
# Knot DNS. Does nothing on a machine that has them. Leaves no server running: tests start their own, on loopback ports.
set -euo pipefail

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v memcached >/dev/null || missing+=(memcached)
command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
command -v knotd >/dev/null || [ -x /usr/sbin/knotd ] || missing+=(knot)
if [ ${#missing[@]} = 0 ]; then
	echo "install-engines: redis-server, memcached, postgres, pgbouncer and knotd are here"
	exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "install-engines: missing: ${missing[*]}; install them with this machine's package manager" >&2
	exit 1
fi

policy=/usr/sbin/policy-rc.d # asked before a package starts its service
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "${missing[@]}"
