"""Settle what processes that were killed may have been billed for calls that they did not record.

Nothing in a ledger is changed afterwards: what was billed is added as a failed attempt of the kind `killed`, and the holds are deleted.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from dprm_data.core.errors import InputError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.ledger import FailedAttempt, Ledger

_NO_CALL = bytes(32)  # the key of what is no one call


@dataclass(frozen=True)
class Settled:
    """held: dollars that the run's killed processes may have spent; billed: what now counts instead; processes: how many they were."""

    ledger: str
    run: str
    held: float
    billed: float
    processes: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def settle(address: LedgerAddress, billed: float, run: str | None = None) -> Settled:
    """Replace what a run's killed processes hold by what the provider billed for it, in dollars.

    run: the recipe's name; may be left out where only one has anything to settle. Raises `InputError` if there is nothing or more than
    one, or `billed` is no amount of money; `RunBusy` if a process is at work on the ledger's file.
    """
    if not math.isfinite(billed) or billed < 0:
        raise InputError(f"--billed {billed}: must be an amount in dollars, 0 or more")
    with Ledger(address, readonly=True) as ledger:
        runs = sorted({hold.run for hold in ledger.store.holds(run)})
    if len(runs) != 1:
        which = f"several runs: {', '.join(runs)}" if runs else "nothing"
        raise InputError(f"{address.shown} has {which} to settle", hint="Name one with --run." if runs else None)
    with Ledger(address, run=runs[0]) as ledger:
        holds = ledger.store.holds(runs[0])
        held = sum(hold.held for hold in holds)
        message = f"billed for calls in flight of killed processes ({len(holds)}); ${held:.4g} were held"
        ledger.record_now([], [FailedAttempt(_NO_CALL, "killed", None, message, billed)], settled=holds)
        return Settled(address.shown, runs[0], held, billed, len(holds))
