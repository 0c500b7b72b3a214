"""One thread for torch: the tests run several processes side by side."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
