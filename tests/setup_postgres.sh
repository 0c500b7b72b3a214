#!/bin/sh
# PostgreSQL's programs for the tests of the shared ledger, on a Debian machine, as root. Says nothing where they are there already.
set -e
for there in /usr/lib/postgresql/*/bin/initdb; do [ -x "$there" ] && exit 0; done
command -v initdb >/dev/null 2>&1 && exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "PostgreSQL is not installed and cannot be from here (apt-get and root are needed): the shared ledger's tests will be skipped." >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# The package would make a cluster of its own and start it; the tests make theirs.
mkdir -p /etc/postgresql-common && [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null || {
    echo "PostgreSQL could not be installed: the shared ledger's tests will be skipped." >&2
    exit 0
}
