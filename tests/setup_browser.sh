#!/bin/sh
# Chromium for the tests of the report, on a Debian machine, as root. Says nothing where it is there already.
set -e
command -v chromium >/dev/null 2>&1 && exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "Chromium is not installed and cannot be from here (apt-get and root are needed): the report's browser tests will be skipped." >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null || {
    echo "Chromium could not be installed: the report's browser tests will be skipped." >&2
    exit 0
}
