#!/bin/sh
# Tests with the oldest versions that pyproject.toml allows, each as old as its lower bound says; what they need in turn is new.
# Without the extras that are large or need a service: train, local, argilla, ray.
set -eu

cd "$(dirname "$0")/../.."
tools=.venv-lock
oldest=.venv-oldest
python=${PYTHON:-$(command -v python3.11 || command -v python3)}

[ -x "$tools/bin/uv" ] || { "$python" -m venv "$tools" && "$tools/bin/pip" --disable-pip-version-check -q install uv; }
uv=$(pwd)/$tools/bin/uv
"$uv" venv -q --clear -p "$python" "$oldest"
"$uv" pip compile -q --resolution lowest-direct --python "$oldest/bin/python" --no-header --no-annotate \
    --extra hub --extra anthropic --extra pandas --extra excel --extra text --extra serve --extra postgres pyproject.toml > "$oldest/oldest.txt"
"$uv" pip install -q --python "$oldest/bin/python" --only-binary :all: -r "$oldest/oldest.txt" pytest pytest-timeout hypothesis krippendorff POT
"$uv" pip install -q --python "$oldest/bin/python" --no-deps -e .
"$oldest/bin/python" -m pytest -p no:cacheprovider tests/release/test_imports.py tests/test_cli.py tests/labels tests/ledger/test_ledger.py \
    tests/providers/test_openai.py tests/providers/test_anthropic.py tests/ingest/test_sources.py tests/ingest/test_vote_tables.py \
    tests/elicit/test_template.py tests/preference/test_fitting.py tests/publish/test_configs.py
