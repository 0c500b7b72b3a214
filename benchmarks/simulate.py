"""The engine's scheduling, simulated: against measured runs, and for a run of a billion labels.

    python -m benchmarks.simulate --check       real runs and simulated ones side by side, within what tolerance
    python -m benchmarks.simulate --plan        what a billion labels need, from costs measured now
    python -m benchmarks.simulate --write       all of it, measured now, into docs/scale.md and docs/scale-measured.md
    python -m benchmarks.simulate --write --quick      the same from smaller runs

Costs are measured by `benchmarks.cost_per_call` and `benchmarks.ledgers` (which needs PostgreSQL's programs); `benchmarks.simulation` says what is
simulated and what is the engine's own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.billion import needs, scenarios  # noqa: E402
from benchmarks.cost_per_call import Costs, measure  # noqa: E402
from benchmarks.cost_per_call import table as costs_table  # noqa: E402
from benchmarks.document import write  # noqa: E402
from benchmarks.engine import PERSONAS, measured  # noqa: E402
from benchmarks.simulation import Model, Outcome, fixed, simulate  # noqa: E402

PLAN = ROOT / "docs" / "scale.md"  # what a billion labels need
MEASURED = ROOT / "docs" / "scale-measured.md"  # everything else
TOLERANCE = 0.15  # of the wall time; requests: five standard deviations of their difference


@dataclass(frozen=True)
class Case:
    """A run that is made and simulated. seconds: the server's latency; faults: chances of a 500; given: the recipe's limits."""

    name: str
    items: int
    seconds: float
    concurrency: int
    fault: float = 0.0
    rpm: float | None = None
    provider_rpm: float | None = None

    @property
    def model(self) -> Model:
        return Model(
            items=self.items,
            calls_each=PERSONAS,
            concurrency=self.concurrency,
            rpm=self.rpm,
            attempts=20,
            latency=fixed(self.seconds),
            failures={"server": self.fault} if self.fault else {},
            provider_rpm=self.provider_rpm,
            refusal=self.seconds,
        )


CASES = (
    Case("bound by latency, 64 at once", 100, 0.5, 64),
    Case("bound by latency, 16 at once", 25, 0.5, 16),
    Case("one attempt in twenty fails", 125, 0.2, 32, fault=0.05),
    Case("our limit: 3,000 a minute", 30, 0.1, 64, rpm=3000),
    Case("the provider's limit: 3,000 a minute, unknown to us", 30, 0.1, 64, provider_rpm=3000),
)


def real(case: Case, folder: Path) -> tuple[float, int]:
    """Seconds from the first request to the last answer, and requests, as the server saw them."""
    from tests.servers.llm import LLMProcess

    rows = [{"prompt": f"Question {i}: how?", "response": f"Answer {i}. " * 12} for i in range(case.items)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = folder / "log.jsonl"
    arguments = ["--latency", str(case.seconds), "--log", str(log), "--chances", f"500={case.fault}"]
    arguments += ["--rpm", str(case.provider_rpm)] if case.provider_rpm else []
    with LLMProcess(*arguments) as server:
        limits = {"concurrency": case.concurrency, "attempts": 20} | ({"rpm": case.rpm} if case.rpm else {})
        recipe = {
            "name": "check",
            "source": {"path": "rows.jsonl"},
            "panel": {"use": "demographic", "sample": PERSONAS},
            "provider": {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{server.url}/v1"},
            "limits": limits,
            "output": "run",
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        measured([str(Path(sys.executable).parent / "dprm"), "run", "recipe.yaml", "--no-fit", "--quiet"], folder, log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    begun = min(line["at"] - line["seconds"] for line in lines)
    return max(line["at"] for line in lines) - begun, len(lines)


def check(costs: Costs, scale: float = 1.0) -> tuple[list[str], bool]:
    """The table of measured and simulated runs, and whether all times agree."""
    lines = [
        "| | calls | measured s | simulated s | ratio | requests measured | simulated |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    agree = True
    for case in CASES:
        case = replace(case, items=max(5, round(case.items * scale)))
        with tempfile.TemporaryDirectory() as folder:
            seconds, requests = real(case, Path(folder))
        found: Outcome = simulate(replace(case.model, cpu=costs.cpu))
        ratio = seconds / found.seconds
        agree = agree and abs(ratio - 1) <= TOLERANCE
        lines.append(
            f"| {case.name} | {found.answered:,} | {seconds:.2f} | {found.seconds:.2f} | {ratio:.2f} "
            f"| {requests:,} | {found.requests:,} |"
        )
    return lines, agree


def ledger_figures(quick: bool) -> dict[str, float]:
    """What `benchmarks.ledgers` measures."""
    sizes = ["--calls", "20000", "--rounds", "1"] if quick else []
    command = [sys.executable, "-m", "benchmarks.ledgers", "--json", *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"benchmarks.ledgers failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="measured and simulated runs side by side")
    parser.add_argument("--plan", action="store_true", help="what a billion labels need")
    parser.add_argument(
        "--write", action="store_true", help="both, and the costs, into docs/scale.md and docs/scale-measured.md"
    )
    parser.add_argument("--quick", action="store_true", help="smaller runs, one round")
    given = parser.parse_args()
    if not (given.check or given.plan or given.write):
        parser.error("say --check, --plan or --write")
    how = "Smaller runs, one round (`--quick`)" if given.quick else "Medians of three rounds"
    machine = f"{os.cpu_count()} processors, load average {os.getloadavg()[1]:.1f} when it began"
    costs = measure(1 if given.quick else 3)
    sections: dict[str, list[str]] = {"how": [f"{how}; {machine}."], "costs": costs_table(costs)}
    agree = True
    if given.check or given.write:
        sections["check"], agree = check(costs, 0.3 if given.quick else 1.0)
    if given.plan or given.write:
        ledger = ledger_figures(given.quick)
        sections["needs"] = needs(costs, ledger)
        sections["scenarios"] = scenarios(costs, ledger)
    for name, lines in sections.items():
        print(f"\n{name}\n", *lines, sep="\n")
    if given.write:
        write({"needs": sections.pop("needs")}, PLAN)
        write(sections, MEASURED)
    if not agree:
        raise SystemExit(
            f"measured and simulated times differ by more than {TOLERANCE:.0%} somewhere (is the machine busy?)"
        )


if __name__ == "__main__":
    main()
