#!/bin/sh
# The Argilla server for tests/review: a virtual environment of its own, because it pins an older click and older pydantic settings than
# the project's. Does nothing where it is there already, with the versions in tests/argilla-server-constraints.txt.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
where="$here/.cache/argilla-server"
pins="$here/tests/argilla-server-constraints.txt"
python=${PYTHON:-$(command -v python3.11 || command -v python3)}

if [ -f "$where/.pins" ] && cmp -s "$pins" "$where/.pins"; then
    exit 0
fi
[ -x "$where/bin/python" ] || "$python" -m venv "$where"
"$where/bin/pip" --disable-pip-version-check -q install -c "$pins" argilla-server 'click<8.2' fakeredis
cp "$pins" "$where/.pins"
