"""What a new user does with the installed package, in an empty folder: without a key, a network or the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dprm_data
from dprm_data import FunctionProvider, LabelSpace, fit, plan, read_votes, run

assert not (Path(dprm_data.__file__).parents[1] / "pyproject.toml").exists(), "this is the checkout"

ROWS = [{"prompt": "How do I boil an egg?", "response": text} for text in ("Eight minutes.", "I do not know.")]


def judge(request: object) -> str:
    return json.dumps({"label": "helpful and harmless"})


# A panel's labels, from a function.
recipe = {"name": "first-use", "panel": "small"}
assert plan(recipe, source=ROWS, provider=FunctionProvider(judge), progress=False).items == len(ROWS)
result = run(recipe, source=ROWS, provider=FunctionProvider(judge), output="run", progress=False)
assert set(result.annotations.column("status").to_pylist()) == {"ok"}
assert result.distributions.num_rows == len(ROWS)

# People's votes, without any model.
Path("votes.csv").write_text("item,label\na,1\na,5\nb,4\nb,4\n", encoding="utf-8")
space = LabelSpace.ordinal(5)
assert fit(read_votes("votes.csv", space), space).to_table().num_rows == 2

# What the command shows of the run; its templates travel in the package.
dprm = [str(Path(sys.executable).with_name("dprm"))]
for command in (["show", "run", "--json"], ["report", "run"], ["export", "run", "--to", "csv"]):
    subprocess.run([*dprm, *command], check=True, stdout=subprocess.DEVNULL)
