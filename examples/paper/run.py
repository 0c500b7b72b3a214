"""The paper's way from end to end: responses, a panel, distributions, reward models, PPO on each, and what a held-out judge says of the policies.

    python examples/paper/run.py                       tiny: two cores, no key, about a quarter of an hour
    python examples/paper/run.py --size full           the paper's size, on a GPU and with keys (README.md)
    python examples/paper/run.py --size full --print   only say what would be done

Every stage is a command of `dprm`, printed before it runs. Stages that are done are skipped: started again, the example goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from paper_tables import write_tables

from dprm_data.cli import main as command
from dprm_data.core.errors import DprmError, InputError
from dprm_data.core.tables import write_text

HERE = Path(__file__).parent
OBJECTIVES = {"DPRM_OT": "ot", "DPRM_C": "ce", "BT-RM": "bt"}
BASE = "SFT"  # the policy before PPO, as the paper calls it: the instruction-tuned model as it comes


@dataclass(frozen=True)
class Stage:
    """A name, and either a command of `dprm` or a step of this example's own."""

    name: str
    do: list[str] | Callable[[], object]

    def __str__(self) -> str:
        return f"dprm {shlex.join(self.do)}" if isinstance(self.do, list) else f"({self.name}: done by this script)"


def main() -> None:
    asked = _arguments()
    out = asked.output or Path("runs") / f"paper-{asked.size.name}"
    stages = list(plan(asked.size, out))
    if asked.print:
        print("\n".join(map(str, stages)))
        return
    _hold(out, asked.size)
    for stage in stages:
        _do(stage, out)
    print((out / "table.md").read_text(encoding="utf-8"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", help="tiny, full, or a folder with files like theirs")
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny", help="the same as --size tiny")
    parser.add_argument("--output", type=Path, help="the folder of everything; runs/paper-SIZE if not given")
    parser.add_argument("--print", action="store_true", help="say the commands, and do nothing")
    asked = parser.parse_args()
    named = HERE / asked.size
    asked.size = named if named.is_dir() else Path(asked.size)
    if not (asked.size / "size.yaml").is_file():
        parser.error(f"--size {asked.size}: neither tiny nor full nor a folder with a size.yaml")
    return asked


# -- what is done ---------------------------------------------------------------------------------------------------------


def plan(folder: Path, out: Path) -> Iterator[Stage]:
    """All stages, in their order."""
    size = yaml.safe_load((folder / "size.yaml").read_text(encoding="utf-8"))
    yield from _distributions(size, folder, out)
    yield from _reward_models(folder, out)
    yield from _policies(size, folder, out)
    yield from _judgements(size, folder, out)
    yield Stage("tables", lambda: write_tables(out, list(OBJECTIVES)))


def _distributions(size: dict[str, Any], folder: Path, out: Path) -> Iterator[Stage]:
    """Prompts, responses, and what the panel says of them."""
    policy = ("--policy", f"{BASE}={size['policy']}", *_prompts(size["prompts"], folder), *_sampling(size))
    samples = [out / "samples" / f"temperature-{t}" for t in size["temperatures"]]
    for seed, (temperature, sample) in enumerate(zip(size["temperatures"], samples, strict=True), start=1):
        how = ("--responses", str(size["responses"]), "--temperature", str(temperature), "--seed", str(seed))
        command = ["eval", "policy", *policy, *how, "--output", str(sample)]
        yield Stage(f"responses at temperature {temperature}", command)
    items = out / "items.jsonl"
    yield Stage("items", lambda: _write_items(items, samples, _written(size["prompts"], folder)))
    yield Stage("recipe of the panel", lambda: _recipe(folder, "annotate", items, out))
    command = ["run", str(out / "annotate.yaml"), "--output", str(out / "panel")]
    yield Stage("the panel's distributions", command)


def _reward_models(folder: Path, out: Path) -> Iterator[Stage]:
    data = ("--data", str(out / "panel"))
    for name, objective in OBJECTIVES.items():
        settings = ("--config", str(folder / "reward.yaml"), *data, "--objective", objective)
        command = ["train", "reward", *settings, "--output", str(_reward(out, name)), "--resume"]
        yield Stage(f"reward model {name}", command)
    models = [part for name in OBJECTIVES for part in ("--reward-model", str(_reward(out, name)))]
    command = ["eval", "reward", *models, *data, "--output", str(out / "reward-evaluation")]
    yield Stage("reward models on held-out responses", command)


def _policies(size: dict[str, Any], folder: Path, out: Path) -> Iterator[Stage]:
    prompts = _prompts(size["prompts"], folder, split="--set prompt_split=", limit="--set limit=")
    common = ("--config", str(folder / "ppo.yaml"), "--policy", size["policy"], *prompts)
    for name in OBJECTIVES:
        ends = ("--max-new-tokens", str(size["sampling"]["max-new-tokens"]), *_precision())
        own = ("--reward-model", str(_reward(out, name)), "--output", str(_policy(out, name)))
        yield Stage(f"PPO on {name}", ["train", "ppo", *common, *own, *ends, "--resume"])


def _judgements(size: dict[str, Any], folder: Path, out: Path) -> Iterator[Stage]:
    """What the policies say to held-out prompts, and what judges say of that."""
    named = {BASE: size["policy"]} | {f"PPO {name}": _policy(out, name) for name in OBJECTIVES}
    policies = [part for name, policy in named.items() for part in ("--policy", f"{name}={policy}")]
    asked = ["eval", "policy", *policies, *_prompts(size["heldout"], folder), *_sampling(size)]
    asked += ["--responses", str(size["heldout_responses"]), "--reference", size["policy"]]
    asked += ["--output", str(out / "evaluation")]
    yield Stage("the policies' responses to held-out prompts", asked)
    responses, judge = out / "evaluation" / "responses.jsonl", out / "judge"
    yield Stage("recipe of the judge", lambda: _recipe(folder, "judge", responses, out))
    yield Stage("the held-out judge", ["run", str(out / "judge.yaml"), "--output", str(judge)])
    judges = [judge, *(_reward(out, name) for name in OBJECTIVES)]
    yield Stage("the comparison", asked + [part for judge in judges for part in ("--judge", str(judge))])


def _reward(out: Path, name: str) -> Path:
    return out / "rewards" / name


def _policy(out: Path, name: str) -> Path:
    return out / "policies" / name


def _prompts(source: dict[str, Any], folder: Path, split: str = "--split ", limit: str = "--limit ") -> list[str]:
    """The flags of a source of prompts; `split` and `limit`: what a command calls them."""
    given = f"{split}{source['split']}" + (f" {limit}{source['limit']}" if "limit" in source else "")
    return ["--prompts", _file(source["data"], folder), *given.split()]


def _sampling(size: dict[str, Any]) -> list[str]:
    return [part for name, value in size["sampling"].items() for part in (f"--{name}", str(value))]


def _precision() -> list[str]:
    """bf16 where the processor computes it in hardware; it is slow where it does not, and `auto` is right on a GPU."""
    flags = Path("/proc/cpuinfo")
    return ["--precision", "bf16"] if flags.is_file() and "amx_bf16" in flags.read_text() else []


def _file(reference: str, folder: Path) -> str:
    """A file beside the example or in the size's folder; anything else is a name and stays one."""
    return next((str(place / reference) for place in (folder, HERE) if (place / reference).is_file()), reference)


# -- steps of its own -----------------------------------------------------------------------------------------------------


def _written(source: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The responses that somebody wrote to the prompts, if the file of prompts has any."""
    file = Path(_file(source["data"], folder))
    rows = (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.suffix == ".jsonl" else []
    )
    return [row for row in rows if row.get("response")]


def _write_items(items: Path, samples: list[Path], written: list[dict[str, Any]]) -> None:
    rows: list[dict[str, Any]] = []
    for row in written:
        system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
        prompt = [*system, {"role": "user", "content": row["prompt"]}]
        rows.append({"prompt": prompt, "response": row["response"], "origin": "written"})
    for sample in samples:
        for line in (sample / "responses.jsonl").read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            rows.append({"prompt": found["prompt"], "response": found["response"], "origin": sample.name})
    write_text(items, "".join(json.dumps(row) + "\n" for row in rows))


def _recipe(folder: Path, name: str, source: Path, out: Path) -> None:
    """The size's recipe with its source, in the output folder."""
    recipe = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    for key in ("labels", "panel"):
        if isinstance(recipe.get(key), str) and (folder / recipe[key]).is_file():
            recipe[key] = str((folder / recipe[key]).resolve())
    recipe["source"] = {"path": str(source.resolve())}
    write_text(out / f"{name}.yaml", yaml.safe_dump(recipe, sort_keys=False))


# -- stage by stage -------------------------------------------------------------------------------------------------------


def _hold(out: Path, size: Path) -> None:
    """The output folder belongs to one size and its prompts: stages of another would be taken for done."""
    files = [file for folder in (HERE, size) for kind in ("*.yaml", "*.jsonl") for file in sorted(folder.glob(kind))]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    done = _done(out)
    if done and done["size"] != digest:
        raise InputError(
            f"{out} was made with other settings or prompts", hint="Give another --output, or remove the folder."
        )
    if not done:
        write_text(out / "stages.json", json.dumps({"size": digest, "stages": {}}, indent=2) + "\n")


def _done(out: Path) -> dict[str, Any]:
    file = out / "stages.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _do(stage: Stage, out: Path) -> None:
    record = _done(out)
    if stage.name in record["stages"]:
        print(f"[{stage.name}: done]", flush=True)
        return
    print(f"\n[{stage.name}]\n{stage}", flush=True)
    began, worked = time.monotonic(), time.process_time()
    if isinstance(stage.do, list):
        _dprm(stage.do)
    else:
        stage.do()
    spent = {"seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(time.process_time() - worked, 1)}
    if stage.name != "tables":  # they tell of all stages, and cost nothing to write again
        record["stages"][stage.name] = spent
        write_text(out / "stages.json", json.dumps(record, indent=2) + "\n")


def _dprm(arguments: list[str]) -> None:
    """The command in this process: importing torch anew for every stage would take a minute in all."""
    sys.argv = ["dprm", *arguments]
    try:
        command()
    except SystemExit as ended:
        if ended.code:
            raise


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        main()
    except DprmError as error:
        sys.exit(f"{error}")
