"""Are variance components right, and do their intervals hold what they say? Simulated panels with known components.

    python benchmarks/variance_components.py            # writes the tables of docs/statistics.md: about ten minutes on one core
    python benchmarks/variance_components.py --quick    # a few simulations of each, prints only

`own`: how often the 95 % interval holds the component of the panel and the models at hand, which is what it is for. `all`: how often it holds the component of
the population that personas and models were drawn from, which it is not for. The test of personas against noise stands beside the classical F test.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import f as f_distribution

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from document import write  # noqa: E402

from dprm_data.preference.pair_sums import PairSums  # noqa: E402
from dprm_data.preference.variance_components import variance_components  # noqa: E402

RESAMPLES = 200
NAMES = {"i": "item", "p": "persona", "m": "model", "e": "replicate noise"}
Codes = tuple[np.ndarray, np.ndarray, np.ndarray]


def crossed(items: int, personas: int, models: int, replicates: int) -> Codes:
    grid = np.indices((items, personas, models, replicates)).reshape(4, -1)
    return grid[0], grid[1], grid[2]


def some_of(codes: Codes, share: float) -> Callable[[np.random.Generator], Codes]:
    """Holes: each rating is there with a chance that rises from item to item, `share` on the average."""

    def kept(rng: np.random.Generator) -> Codes:
        chance = np.linspace(0.2, 1.8, codes[0].max() + 1)[codes[0]] * share
        rows = rng.random(len(codes[0])) < chance
        return codes[0][rows], codes[1][rows], codes[2][rows]

    return kept


@dataclass(frozen=True)
class Setting:
    """A design with the standard deviations of its effects. skewed: exponential effects in place of normal ones."""

    name: str
    draw: Callable[[np.random.Generator], Codes]
    sd: dict[str, float]
    skewed: bool = False


def fixed(codes: Codes) -> Callable[[np.random.Generator], Codes]:
    return lambda rng: codes


ONE_MODEL = {"i": 1.0, "p": 0.4, "ip": 0.5, "e": 0.7}
THREE = {"i": 1.0, "p": 0.3, "m": 0.4, "ip": 0.3, "im": 0.4, "pm": 0.2, "ipm": 0.2, "e": 0.6}


def shared_out(items: int, personas: int, models: int, replicates: int) -> Callable[[np.random.Generator], Codes]:
    """Each item × persona meets one model: each item, in a random order for every run of `models` personas, as `design: balanced` does."""
    item, persona, _ = crossed(items, personas, 1, replicates)

    def drawn(rng: np.random.Generator) -> Codes:
        runs = -(-personas // models)
        order = np.array([[rng.permutation(models) for _ in range(runs)] for _ in range(items)]).reshape(items, -1)
        return item, persona, order[item, persona]

    return drawn


SETTINGS = [
    Setting("pilot: 25 items × 12 personas × 2 replicates", fixed(crossed(25, 12, 1, 2)), ONE_MODEL),
    Setting("the same, skewed effects", fixed(crossed(25, 12, 1, 2)), ONE_MODEL, skewed=True),
    Setting("small pilot: 12 items × 4 personas × 2", fixed(crossed(12, 4, 1, 2)), ONE_MODEL),
    Setting("pilot with three models: 25 × 12 × 3 × 2", fixed(crossed(25, 12, 3, 2)), THREE),
    Setting("run: 300 × 12 × 3, asked once", fixed(crossed(300, 12, 3, 1)), THREE),
    Setting("run with holes: 30 % of 300 × 12 × 3 × 2", some_of(crossed(300, 12, 3, 2), 0.3), THREE),
    Setting("each item × persona meets one of 3 models: 120 × 12 × 2",
            shared_out(120, 12, 3, 2), THREE),
]  # fmt: skip


def simulate(setting: Setting, rng: np.random.Generator) -> tuple[Codes, np.ndarray, dict[str, np.ndarray]]:
    """Design, ratings, and the effects that each rating has."""
    item, persona, model = setting.draw(rng)
    codes = {"i": item, "p": persona, "m": model}
    effects = {}
    for effect, scale in setting.sd.items():
        if effect == "e":
            code = np.arange(len(item))
        else:
            code = np.zeros(len(item), dtype=np.int64)
            for factor in effect:
                code = code * 1000 + codes[factor]
            _, code = np.unique(code, return_inverse=True)
        size = int(code.max()) + 1
        drawn = rng.exponential(size=size) - 1 if setting.skewed else rng.normal(size=size)
        effects[effect] = scale * drawn[code]
    return (item, persona, model), np.sum(list(effects.values()), axis=0), effects


def own_components(codes: Codes, effects: dict[str, np.ndarray]) -> dict[str, float]:
    """The components of persona, model and persona × model among the personas and models at hand: of their table, by its pairs of cells."""
    _, persona, model = codes
    P, M = int(persona.max()) + 1, int(model.max()) + 1
    table = np.zeros((P, M))
    table[persona, model] = np.sum([effects[effect] for effect in ("p", "m", "pm") if effect in effects], axis=0)
    p, m = np.indices((P, M)).reshape(2, -1)
    square = 0.5 * (table[p[:, None], m[:, None]] - table[p[None], m[None]]) ** 2
    same_p, same_m = p[:, None] == p[None], m[:, None] == m[None]
    if M == 1:
        return {"persona": float(square[~same_p].mean())}
    apart, by_p, by_m = (float(square[kind].mean()) for kind in (~same_p & ~same_m, same_p & ~same_m, ~same_p & same_m))
    return {"persona": apart - by_p, "model": apart - by_m, "persona × model": by_p + by_m - apart}


def said(effect: str) -> str:
    return " × ".join(NAMES[factor] for factor in effect)


def components_table(simulations: int) -> list[str]:
    lines = [
        "| design | component | truth | mean estimate − truth (s.e.) | own: holds | all: holds | mean width |",
        "|---|---|---|---|---|---|---|",
    ]
    for setting in SETTINGS:
        rng = np.random.default_rng(1)
        found: dict[str, list[tuple[float, float, bool, bool, float]]] = {}
        for _ in range(simulations):
            codes, y, effects = simulate(setting, rng)
            sums = PairSums(min(int(codes[0].max()) + 1, 400), int(codes[1].max()) + 1, int(codes[2].max()) + 1)
            sums.add(codes[0] % sums.blocks, *codes, y[:, None])
            result = variance_components(sums, items=int(codes[0].max()) + 1, resamples=RESAMPLES)
            own = own_components(codes, effects)
            variances = {said(effect): scale**2 for effect, scale in setting.sd.items()}
            for part in result.components:
                extra = [name for name in part.includes if name in variances]
                if part.name == "residual":
                    truth = variances["replicate noise"] + sum(variances[name] for name in extra)
                else:
                    truth = variances[part.name] + sum(variances[name] for name in extra)
                mine = own.get(part.name, truth)
                low, high = part.variance.low or 0.0, part.variance.high or 0.0
                name = part.name + (f" (with {', '.join(part.includes)})" if part.includes else "")
                entry = (truth, part.estimate, low <= mine <= high, low <= truth <= high, high - low)
                found.setdefault(name, []).append(entry)
        for name, entries in found.items():
            truth, estimate, own_held, all_held, width = (
                np.array(column, dtype=float) for column in zip(*entries, strict=True)
            )
            error = estimate.std(ddof=1) / np.sqrt(len(estimate))
            lines.append(
                f"| {setting.name} | {name} | {truth[0]:.3f} | {estimate.mean() - truth[0]:+.3f} ({error:.3f}) | "
                f"{own_held.mean():.3f} | {all_held.mean():.3f} | {width.mean():.2f} |"
            )
        print("\n".join(lines[-len(found) :]), flush=True)
    return lines


def test_table(simulations: int) -> list[str]:
    """Personas against noise: labels 1 ... 5, 12 personas, two replicates; the share is of persona and item × persona together."""
    shares = (0.0, 0.02, 0.05, 0.1, 0.2)
    head = " | ".join(f"share {share:.0%}" for share in shares)
    lines = [f"| items | test | {head} |", "|---|---|" + "---|" * len(shares)]
    for items in (10, 25, 50, 100):
        hits = np.zeros((2, len(shares)))
        for s, share in enumerate(shares):
            rng = np.random.default_rng(2)
            codes = crossed(items, 12, 1, 2)
            sd = {"i": np.sqrt(0.5), "p": np.sqrt(share / 2), "ip": np.sqrt(share / 2), "e": np.sqrt(0.5 - share)}
            setting = Setting("", fixed(codes), {name: float(value) for name, value in sd.items()})
            for _ in range(simulations):
                _, y, _ = simulate(setting, rng)
                label = np.clip(np.round(3 + 1.2 * y), 1, 5)
                sums = PairSums(items, 12, 1)
                sums.add(codes[0], *codes, label[:, None])
                effect = variance_components(sums, items=items, resamples=RESAMPLES).effect("persona")
                hits[0, s] += effect is not None and effect.beyond_noise
                hits[1, s] += f_test(label.reshape(items, 12, 2))
        for name, row in zip(("interval above 0", "F test, one-sided 2.5 %"), hits / simulations, strict=True):
            lines.append(f"| {items} | {name} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
        print("\n".join(lines[-2:]), flush=True)
    return lines


def f_test(cube: np.ndarray) -> bool:
    """Personas within items against replicates, at 2.5 %."""
    items, personas, replicates = cube.shape
    cell = cube.mean(2)
    noise = ((cube - cell[..., None]) ** 2).sum() / (items * personas * (replicates - 1))
    between = replicates * ((cell - cell.mean(1, keepdims=True)) ** 2).sum() / (items * (personas - 1))
    if noise == 0:
        return bool(between > 0)
    return bool(
        between / noise > f_distribution.ppf(0.975, items * (personas - 1), items * personas * (replicates - 1))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few simulations; prints only")
    quick = parser.parse_args().quick
    sections = {
        "variance-components": components_table(10 if quick else 400),
        "persona-test": test_table(10 if quick else 400),
    }
    if not quick:
        write(sections)


if __name__ == "__main__":
    main()
