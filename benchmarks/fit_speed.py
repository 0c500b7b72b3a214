"""How fast votes become distributions: time and memory from 1,000 to 1,000,000 items, and the ratio to a SciPy loop.

    python benchmarks/fit_speed.py                  # the whole table, a few minutes
    python benchmarks/fit_speed.py --most 10000     # a quick look

Every row is a process of its own (peak memory is a process's), on simulated votes: K = 6, 5 to 15 votes an item. `counts` are a wide Parquet
of label counts, `ratings` the long table of single ratings, one row per (item, annotator), `weighted` counts with a weight of its own per rater, so that no
two items are equal, `raters` a long table of exactly 10 votes an item by 10,000 raters who differ in severity, fitted with raters in the model. Reading Parquet, learning the prior, all distributions with their intervals, and writing Parquet are all in the time.

The ratio: the plain discretised beta fitted to each item alone by `scipy.optimize.minimize`, in a loop, on 300 items like these, against `fit` of a million
of them: CPU time per item on the same machine, one after the other. CPU seconds are those of all threads; on a machine that has other work to do they
say more than the wall clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from document import write  # noqa: E402

K = 6


def simulate(items: int, seed: int = 0) -> np.ndarray:
    """Integer votes (items, K) from betas of many means and concentrations."""
    from dprm_data.preference.beta import cells

    rng = np.random.default_rng(seed)
    out = np.empty((items, K))
    for start in range(0, items, 50_000):
        n = min(50_000, items - start)
        mu = 1 / (1 + np.exp(-rng.normal(0.5, 1.2, n)))
        p = cells(mu, np.exp(rng.normal(1.3, 0.8, n)), K)
        out[start : start + n] = rng.multinomial(rng.integers(5, 16, n), p)
    return out


def simulate_raters(items: int, each: int = 10, raters: int = 10_000, seed: int = 0) -> pa.Table:
    """A long table of votes by raters whose severity (s.d. 0.5) shifts the logit of every item's mean."""
    from dprm_data.preference.beta import cells

    rng = np.random.default_rng(seed)
    severity = rng.normal(0, 0.5, raters)
    who = np.empty((items, each), dtype=np.int32)
    label = np.empty((items, each), dtype=np.int8)
    for start in range(0, items, 20_000):
        n = min(20_000, items - start)
        here = slice(start, start + n)
        who[here] = (rng.integers(0, raters, (n, 1)) + np.arange(each) * 997) % raters
        logit, s = rng.normal(0.5, 1.2, (n, 1)), np.exp(rng.normal(1.3, 0.8, (n, 1)))
        mu = 1 / (1 + np.exp(-(logit + severity[who[here]])))
        p = np.cumsum(cells(mu.ravel(), np.broadcast_to(s, mu.shape).ravel(), K), axis=1)
        label[here] = np.minimum((rng.random((len(p), 1)) > p).sum(axis=1), K - 1).reshape(n, each)
    item = pa.array([f"item-{i:07d}" for i in range(items)]).take(pa.array(np.repeat(np.arange(items), each)))
    names = pa.array([f"rater-{i:05d}" for i in range(raters)]).take(pa.array(who.ravel()))
    return pa.table({"item_id": item, "rater_id": names, "label": label.ravel()})


def make(kind: str, items: int, folder: Path) -> Path:
    path = folder / f"{kind}-{items}.parquet"
    if kind == "raters":
        pq.write_table(simulate_raters(items), path)
        return path
    counts = simulate(items)
    ids = pa.array([f"item-{i:07d}" for i in range(items)])
    rng = np.random.default_rng(1)
    if kind == "ratings":
        flat = counts.astype(np.int64).ravel()
        rows = np.repeat(np.arange(items * K), flat)
        order = rng.permutation(len(rows))
        item, label = rows[order] // K, rows[order] % K
        # Every item has raters of its own numbers, so that nobody judges an item twice.
        turn = np.empty(len(rows), dtype=np.int64)
        turn[order.argsort()] = 0
        starts = np.concatenate([[0], np.cumsum(counts.sum(axis=1).astype(np.int64))[:-1]])
        turn = np.arange(len(rows)) - starts[rows // K]
        raters = pa.array([f"rater-{i:04d}" for i in range(1000)])
        who = pa.DictionaryArray.from_arrays(pa.array((turn[order] + 17 * item) % 1000), raters)
        table = pa.table(
            {
                "item_id": ids.take(pa.array(item)),
                "rater_id": who.cast(pa.string()),
                "label": pa.array(label.astype(np.int8)),
            }
        )
    else:
        if kind == "weighted":
            counts = counts * rng.uniform(0.5, 1.5, counts.shape)
        table = pa.table({"item_id": ids, "votes": pa.FixedSizeListArray.from_arrays(pa.array(counts.ravel()), K)})
    pq.write_table(table, path)
    return path


def work(kind: str, path: Path, family: str) -> dict[str, float]:
    from dprm_data.core.tables import write_parquet
    from dprm_data.ingest.vote_tables import read_rated_votes, read_votes
    from dprm_data.ingest.votes import Votes
    from dprm_data.labels.space import LabelSpace
    from dprm_data.preference.fitting import fit

    space = LabelSpace.ordinal(K)
    begin = time.perf_counter()
    ratings = None
    if kind == "ratings":
        votes = read_votes(path, space)
    elif kind == "raters":
        votes, ratings = read_rated_votes(path, space)
    else:
        table = pq.read_table(path)
        votes = Votes(table["item_id"].to_pylist(), table["votes"].combine_chunks().flatten().to_numpy().reshape(-1, K))
        del table
    read, before = time.perf_counter(), time.process_time()
    result = fit(votes, space, family=family, ratings=ratings)
    done, fit_cpu = time.perf_counter(), time.process_time() - before
    table = result.to_table()
    write_parquet(path.with_suffix(".out.parquet"), table.schema, [table])
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {
        "read": read - begin,
        "fit": done - read,
        "write": end - done,
        "total": end - begin,
        "cpu": time.process_time(),
        "fit_cpu": fit_cpu,
        "peak_gb": peak,
        "items": len(votes),
    }


def scipy_loop(items: int, textbook: bool) -> float:
    """CPU seconds per item of a per-item maximum-likelihood fit of the discretised beta with SciPy.

    `textbook`: `scipy.stats.beta` and Nelder-Mead, as one writes it down; else the special function itself and L-BFGS-B, as fast as the loop gets.
    """
    from scipy.optimize import minimize
    from scipy.special import betainc
    from scipy.stats import beta

    counts = simulate(items)
    edges = np.linspace(0, 1, K + 1)

    def loss(theta: np.ndarray, n: np.ndarray) -> float:
        a, b = np.exp(np.clip(theta, -5, 6))
        cdf = beta.cdf(edges, a, b) if textbook else betainc(a, b, edges)
        return float(-(n * np.log(np.maximum(np.diff(cdf), 1e-12))).sum())

    begin = time.process_time()
    for n in counts:
        minimize(loss, np.zeros(2), args=(n,), method="Nelder-Mead" if textbook else "L-BFGS-B")
    return (time.process_time() - begin) / items


def child(*arguments: str) -> str:
    """Run this script in a process of its own and return its last line."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--family", default="beta")
    parser.add_argument("--only", nargs="*", help="kinds of input")
    parser.add_argument("--write", action="store_true", help="put the table into docs/statistics.md")
    parser.add_argument("--make", nargs=3, metavar=("KIND", "ITEMS", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        print(make(options.make[0], int(options.make[1]), Path(options.make[2])))
        return
    if options.one:
        print(json.dumps(work(options.one[0], Path(options.one[1]), options.family)))
        return
    sizes = [n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= options.most]
    lines = [
        "| input | items | read s | fit s | write s | total s | CPU s | peak GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    last: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.only or ("counts", "ratings", "weighted", "raters"):
            for items in sizes:
                path = child("--make", kind, str(items), folder)
                r = json.loads(child("--family", options.family, "--one", kind, path))
                shown = " | ".join(f"{r[key]:.2f}" for key in ("read", "fit", "write", "total", "cpu", "peak_gb"))
                lines.append(f"| {kind} | {items:,} | {shown} |")
                print(lines[-1], flush=True)
                last[kind] = r
                Path(path).unlink()
    fast, textbook = 1e6 * scipy_loop(300, False), 1e6 * scipy_loop(300, True)
    lines += [
        "",
        f"A SciPy loop, one item at a time, needs {textbook / 1e3:.1f} CPU ms per item as one writes it down (`scipy.stats.beta`, Nelder–Mead), "
        f"{fast / 1e3:.1f} ms as fast as it gets (`scipy.special.betainc`, L-BFGS-B). Of {sizes[-1]:,} items, in CPU time of all threads:",
        "",
        "| input | `fit` alone, µs per item | times faster than the loop | than the fastest loop | with reading and writing, µs per item |",
        "|---|---|---|---|---|",
    ]
    for kind, r in last.items():
        alone, whole = (1e6 * r[key] / r["items"] for key in ("fit_cpu", "cpu"))
        lines.append(f"| {kind} | {alone:.2f} | {textbook / alone:,.0f} | {fast / alone:,.0f} | {whole:.2f} |")
    print("\n".join(lines))
    if options.write:
        write({"speed": lines})


if __name__ == "__main__":
    main()
