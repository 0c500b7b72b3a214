"""The result of a run: its tables, and its notebook view."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dprm_data.api.overview import overview_of
from dprm_data.core.errors import DprmError
from dprm_data.engine.counters import Counters
from dprm_data.runs.folder import RunFolder, Table
from dprm_data.runs.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

    from dprm_data.core.plots import Plot
    from dprm_data.labels.space import LabelSpace

_SHOWN = 5  # items in a notebook


@dataclass(frozen=True, repr=False, eq=False)
class RunResult:
    """A run that was made (`run`, `arun`) or opened (`open_run`). counters: of this process's calls; None after `open_run`.

    Its tables are Arrow tables, read from the folder when they are first asked for: `items`, `personas`, `annotations`, `distributions`, `preferences`
    (`.to_pandas()` for pandas). All of them raise `InputError` where the run has not written that table yet. A notebook shows how complete it is,
    what it cost, and the first items; `plot` draws distributions, annotators, models or groups.
    """

    folder: RunFolder
    counters: Counters | None = None
    _read: dict[str, tuple[tuple[int, int], Any]] = field(default_factory=dict)  # by table: the file's state, content

    @property
    def items(self) -> pa.Table:
        """A row per prompt with one response: texts as messages, group, role, and origin."""
        return self._table("items")

    @property
    def personas(self) -> pa.Table:
        """A row per persona of the panel."""
        return self._table("personas")

    @property
    def annotations(self) -> pa.Table:
        """A row per annotator and item: the label or the reason why there is none; model, cost."""
        return self._table("annotations")

    @property
    def comparisons(self) -> pa.Table:
        """A row per comparison of two responses, in the order in which they were shown; no rows where nothing was compared."""
        return self._of_comparisons("comparisons")

    @property
    def utilities(self) -> pa.Table:
        """A row per response to a prompt in which something was compared, best first: its expected reward by comparisons and ratings, and how sure it is that it is better than the next; no rows where
        nothing was compared."""
        return self._of_comparisons("utilities")

    @property
    def distributions(self) -> pa.Table:
        """A row per item: the fitted distribution over the labels, expected reward with its interval, disagreement."""
        return self._table("distributions")

    @property
    def preferences(self) -> pa.Table:
        """A row per pair of responses to one prompt, the one with the higher expected reward as `chosen`."""
        return self._table("preferences")

    @property
    def space(self) -> LabelSpace:
        """The labels with their rewards; lists in the tables are in their order."""
        return Run(self.folder.recipe(), self.folder).space

    @property
    def cost(self) -> float | None:
        """Dollars of all annotations, including those of earlier processes; None if a price is not known."""
        return overview_of(self.folder).cost

    def plot(self, by: str | None = None, *, items: int = 12) -> Plot:
        """A picture: distributions as bars that diverge from the middle label, beside expected rewards with their intervals.

        Of at most `items` responses, spread evenly from the best to the worst; of compared responses their utilities, prompt by prompt. by: of the labels of each `annotator`, of each `model`, or of each group of annotators by one of their
        attributes (such as `age`), beside how much more reward they give than the others on the same items. Raises `InputError` where there is nothing to compare.
        """
        from dprm_data.api import result_plot

        if by is None and self.utilities.num_rows:
            return result_plot.plot_compared(self.folder, self.utilities, self.items, items)
        if by is None:
            return result_plot.plot_responses(self.folder, self.distributions, self.space, items)
        personas = self.personas.to_pylist() if self.folder.table("personas").is_file() else []
        if by in result_plot.COLUMNS:
            names = {row["persona_id"]: row["name"] for row in personas if row["name"]}
            return result_plot.plot_annotators(self.folder, self.annotations, self.space, by, names)
        return result_plot.plot_people(self.folder, self.annotations, personas, self.space, by)

    def _of_comparisons(self, name: Table) -> pa.Table:
        from dprm_data.core.tables import SCHEMAS

        if not self.folder.table("comparisons").is_file():
            return self._read.setdefault(f"no {name}", ((0, 0), SCHEMAS[name].empty_table()))[1]
        return self._table(name)

    def _table(self, name: Table) -> pa.Table:
        import pyarrow.parquet as pq

        from dprm_data.core.tables import SCHEMAS, conformed

        path = self.folder.needs(name)
        found = path.stat()
        state = found.st_mtime_ns, found.st_size
        if name not in self._read or self._read[name][0] != state:
            self._read[name] = state, conformed(pq.read_table(path), SCHEMAS[name])
        return self._read[name][1]

    def __repr__(self) -> str:
        made = f"; {self.counters.calls:,} calls made now" if self.counters else ""
        try:
            said = overview_of(self.folder).sentence()
        except DprmError as error:
            said = error.message
        return f"RunResult({str(self.folder)!r}: {said}{made})"

    def _repr_html_(self) -> str:
        from dprm_data.api.result_html import fault_html, run_html

        try:
            return run_html(self.folder, self.space, overview_of(self.folder, first=_SHOWN))
        except DprmError as error:
            return fault_html(self.folder, error)


def open_run(path: str | os.PathLike[str]) -> RunResult:
    """Open a run's folder, to look at it and to read its tables. Raises `InputError` if it is not one."""
    return RunResult(RunFolder.existing(path))
