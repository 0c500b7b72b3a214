"""Fits of an earlier version go on being updated and compared with new votes; of every family."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.before.make_votes import FAMILIES, fit_command, used
from tests.before.saved import assert_holds, dprm_each, unpack

# What the learned dispersion has no part in: the family beta-dirichlet did not heed it (and auto chooses that family here).
CENTRES = ("item_id", "label_distribution", "votes", "expected_reward")
UNHEEDED = ("beta-dirichlet", "auto")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_old_fit_is_updated_and_compared(tmp_path: Path, family: str) -> None:
    folder = unpack("votes", tmp_path)
    known = json.loads((folder / f"{family}.json").read_text())
    known["drift"].pop("mean_reward_shift_error")  # took every vote for another person's
    if family in UNHEEDED:
        known = {"distributions": [{name: row[name] for name in CENTRES} for row in known["distributions"]]}
    assert_holds(used(folder, family), known)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in UNHEEDED])
def test_the_same_votes_give_the_same_fit(tmp_path: Path, family: str) -> None:
    folder = unpack("votes", tmp_path)
    was = pq.read_table(folder / f"{family}.parquet")
    (folder / f"{family}.parquet").unlink()
    dprm_each([fit_command(family)], cwd=folder)
    found = pq.read_table(folder / f"{family}.parquet")
    assert_holds(found.to_pylist(), was.to_pylist())
    carried, carries = (json.loads(table.schema.metadata[b"dprm_fit"]) for table in (was, found))
    assert_holds(carries, carried)


def test_from_python(tmp_path: Path) -> None:
    from dprm_data import LabelSpace, fit, read_votes, update

    folder = unpack("votes", tmp_path)
    space = LabelSpace.ordinal(5)
    fitted = fit(read_votes(folder / "votes.csv", space), space)
    was = pq.read_table(folder / "beta.parquet")
    assert_holds(fitted.expected_reward.tolist(), was["expected_reward"].to_pylist())
    new = read_votes(folder / "new.csv", space)
    updated = update(fitted.votes, new, fitted.prior, space, forgetting=0.8)
    known = json.loads((folder / "beta.json").read_text())["update"]["mean_expected_reward"]
    assert_holds(float(updated.expected_reward.mean()), known)
