"""Temperature calibration: one number T such that softmax(logits / T) is as sharp as the held-out distributions.

T minimises the cross-entropy to the held-out targets, which is convex in 1/T, so a bracketed search finds the minimum.
T keeps the order of a response's labels but changes expected rewards. Source: Guo et al., "On Calibration of Modern
Neural Networks", arXiv:1706.04599 (for one-hot labels; the method does not need them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dprm_data.core.arrays import Floats

if TYPE_CHECKING:
    from torch import nn

_RANGE = (1 / 50, 50.0)  # of 1/T


def temperature(logits: Floats, target: Floats) -> float:
    """The temperature of least cross-entropy for logits (N, K) and target distributions (N, K); 1 without rows."""
    if not len(logits):
        return 1.0
    from scipy.optimize import minimize_scalar

    def cross_entropy(log_inverse: float) -> float:
        z = logits * np.exp(log_inverse)
        top = z.max(axis=1)
        return float((top + np.log(np.exp(z - top[:, None]).sum(axis=1)) - (target * z).sum(axis=1)).mean())

    found = minimize_scalar(
        cross_entropy,
        bounds=(float(np.log(_RANGE[0])), float(np.log(_RANGE[1]))),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(-found.x))


def into_head(head: nn.Linear, temperature: float) -> None:
    """Divide the head's weights by the temperature, so that stock software gives calibrated probabilities."""
    import torch

    with torch.no_grad():
        head.weight.div_(temperature)
        if head.bias is not None:
            head.bias.div_(temperature)
