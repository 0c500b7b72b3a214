"""What a loss costs: optimal transport beside cross-entropy, and beside a loop over the rows with POT's `ot.emd2`.

    python benchmarks/losses.py [--rows 1024] [--threads 1]

Times are processor time (other work on the machine counts for nothing) of one forward and backward pass, the median of many; `x ce` is that time over the time of `ce_loss` on the same tensors in the same minute. The loop
with POT is timed on some of the rows where all would take long, and multiplied.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import ot
import torch
from torch import Tensor

from dprm_data.labels.space import LabelSpace
from dprm_trainers.reward.losses import Transport, ce_loss, cramer_loss, wasserstein_loss

Loss = Callable[[Tensor, Tensor], Tensor]


def step(loss: Loss, logits: Tensor, target: Tensor) -> None:
    logits.grad = None
    loss(logits, target).mean().backward()  # type: ignore[no-untyped-call]


def side_by_side(losses: dict[str, Loss], logits: Tensor, target: Tensor, seconds: float = 3.0) -> dict[str, float]:
    """Median seconds of a pass of each loss. They take turns, so that a busy machine is equally busy for all."""
    times: dict[str, list[float]] = {name: [] for name in losses}
    for loss in losses.values():
        step(loss, logits, target)
    until = time.process_time() + seconds
    while time.process_time() < until or len(times["ce"]) < 3:
        for name, loss in losses.items():
            began = time.process_time()
            step(loss, logits, target)
            times[name].append(time.process_time() - began)
    return {name: statistics.median(found) for name, found in times.items()}


def pot_loop(logits: Tensor, target: Tensor, cost: np.ndarray, rows: int) -> float:
    """Seconds that a loop of `ot.emd2` on torch tensors takes for all rows, measured on the first `rows`."""
    matrix = torch.from_numpy(cost).double()
    began = time.process_time()
    p = logits[:rows].double().softmax(-1)
    q = target[:rows].double()
    q = q / q.sum(-1, keepdim=True)
    torch.stack([ot.emd2(a / a.sum(), b, matrix) for a, b in zip(p, q, strict=True)]).mean().backward()
    return (time.process_time() - began) * len(logits) / rows


def metrics(d: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    x = rng.normal(size=(d, 3))
    line = np.sort(x[:, 0])
    found = {"line": np.abs(line[:, None] - line)}
    if d == 6:
        space = LabelSpace.load("hh6")
        grid = LabelSpace.model_validate(space.model_dump() | {"cost": "axes"}).ground_cost
        found = {"rewards of hh6 (a line)": space.ground_cost, "3 x 2 grid of hh6": grid}
        found["rewards + grid"] = space.ground_cost / space.ground_cost.max() + grid / grid.max()
    if d <= 100:
        found["general"] = np.sqrt(((x[:, None] - x) ** 2).sum(2))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--labels", type=int, nargs="*", default=[2, 3, 6, 8, 20, 100, 1000])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(0)
    print(
        f"{arguments.rows} rows, {arguments.threads} thread(s), float32; torch {torch.__version__}, POT {ot.__version__}\n"
    )
    print(
        "| labels | ground cost | solved by | ot, ms | x ce | loop of ot.emd2, ms | x ot | wasserstein x ce | cramer x ce |"
    )
    print("|---:|---|---|---:|---:|---:|---:|---:|---:|")
    for d in arguments.labels:
        logits = torch.tensor(rng.normal(size=(arguments.rows, d)), dtype=torch.float32, requires_grad=True)
        target = torch.tensor(rng.dirichlet(np.ones(d), size=arguments.rows), dtype=torch.float32)
        for name, cost in metrics(d, rng).items():
            transport = Transport(cost)
            matrix = torch.tensor(cost, dtype=torch.float32)
            losses: dict[str, Loss] = {
                "ce": ce_loss,
                "ot": transport.of_logits,
                "w": wasserstein_loss,
                "c": lambda z, q, c=matrix: cramer_loss(z, q, c),  # type: ignore[misc]
            }
            times = side_by_side(losses, logits, target)
            loop = pot_loop(logits, target, cost, arguments.rows if d <= 20 else 64 if d <= 100 else 4)
            vertices = f" ({2 * transport.solver.forms.shape[1]})" if transport.method == "vertices" else ""
            ce, found = times["ce"], times["ot"]
            print(
                f"| {d:,} | {name} | {transport.method}{vertices} | {1e3 * found:.2f} | {found / ce:.1f} | {1e3 * loop:,.0f} | "
                f"{loop / found:,.0f} | {times['w'] / ce:.1f} | {times['c'] / ce:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
