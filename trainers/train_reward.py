"""`accelerate launch -m dprm_trainers.train_reward`: `dprm train reward` on several devices, with the same flags.

An entry point into the command line; nothing imports it.
"""

from __future__ import annotations

import sys

from dprm_data.cli import main as dprm


def main() -> None:
    """Run `dprm train reward` with this process's arguments."""
    sys.argv[1:1] = ["train", "reward"]
    dprm()


if __name__ == "__main__":
    main()
