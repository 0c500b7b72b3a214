"""An update knows which votes it was given."""

from __future__ import annotations

from pathlib import Path

from tests.helpers import dprm


def write(path: Path, start: int) -> None:
    lines = ["item_id,annotator_id,label", *(f"i{i},p{start + i % 3},{(i + start) % 5}" for i in range(30))]
    path.write_text("\n".join(lines) + "\n")


def test_the_same_votes_twice_are_said(tmp_path: Path) -> None:
    for name, start in (("a", 0), ("b", 1), ("c", 2)):
        write(tmp_path / f"{name}.csv", start)
    rows = (tmp_path / "b.csv").read_text().splitlines()
    (tmp_path / "again.csv").write_text(
        "\n".join([rows[0], *reversed(rows[1:])]) + "\n"
    )  # another file, the same votes
    assert dprm("fit", "a.csv", "--labels", "5", "--out", "a.parquet", cwd=tmp_path).returncode == 0
    said = []
    for dataset, votes, out in (("a", "b", "ab"), ("ab", "c", "abc"), ("abc", "again", "d"), ("a", "a", "e")):
        done = dprm("update", f"{dataset}.parquet", f"{votes}.csv", "--out", f"{out}.parquet", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said.append("counts every one twice" in done.stdout + done.stderr)
    assert said == [False, False, True, True]
