#!/bin/sh
# Installs what `make test-operations` needs of Debian, where that can be done: as root, with apt.
# Elsewhere the tests that miss something are skipped, and say so.
#
#   prometheus   promtool tries the alerts; a Prometheus scrapes a worker and evaluates the panels
#   debootstrap  a clean root, in which the Dockerfile's steps are run
#   postgresql   a PostgreSQL with TLS; the one of the wheel has none
#   pgbouncer    a pooler in transaction mode, as Supabase's
set -eu
missing=
for package in prometheus debootstrap postgresql pgbouncer; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed$' \
        || missing="$missing $package"
done 2>/dev/null
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, and this user cannot install it:$missing" >&2
    exit 0
fi
echo "installing Debian's packages for make test-operations:$missing"
export DEBIAN_FRONTEND=noninteractive
# At this run level no service is started: the tests start their own, on ports of their own.
export RUNLEVEL=1
# shellcheck disable=SC2086 # a list of names
apt-get update -qq >/dev/null && apt-get install -qq --yes --no-install-recommends $missing >/dev/null \
    || echo "they could not be installed; what needs them is skipped" >&2
