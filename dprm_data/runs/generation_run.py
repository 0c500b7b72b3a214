"""A run's generation, as a run of its own: in the same folder and on the same ledger, under the same name and so the same budget. Its items are
the prompts, its models those that generate."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from dprm_data.elicit.generation import GenerationWork, generation_work
from dprm_data.labels.space import LabelSpace
from dprm_data.providers.provider import provider_class
from dprm_data.recipe.generate_config import GenerateConfig
from dprm_data.runs.folder import RunFolder, Table
from dprm_data.runs.run import Run


class PromptFolder(RunFolder):
    """A run folder whose items are its prompts (`tables/prompts.parquet`), with the responses that the source has."""

    def table(self, name: Table) -> Path:
        return self.path / "tables" / "prompts.parquet" if name == "items" else super().table(name)


class GenerationRun(Run):
    """The generation of this run's responses. Never frozen: the recipe in the folder is the run's."""

    def __init__(self, run: Run) -> None:
        assert run.recipe.generate
        self.config: GenerateConfig = run.recipe.generate
        self._space = run.space
        asked = {"models": self.config.models, "provider": None, "early_stop": None, "prior": None, "design": "crossed"}
        recipe = run.recipe.model_copy(update=asked)
        super().__init__(recipe, PromptFolder(run.folder.path), source=run.source, progress=run.progress)

    @property
    def compares(self) -> bool:
        """Never: it asks for responses, whatever is asked about them later."""
        return False

    @property
    def responses_file(self) -> Path:
        return self.folder.path / "tables" / "responses.parquet"

    @property
    def prompts(self) -> int:
        """The number of prompts that are stored."""
        return int(self.folder.read_manifest()["prompts_source"]["prompts"])

    @property
    def given(self) -> int:
        """The number of responses that the source has, and that are to be rated."""
        return int(self.folder.read_manifest()["prompts_source"]["given"])

    @cached_property
    def space(self) -> LabelSpace:
        return self._space

    @cached_property
    def work(self) -> GenerationWork:
        names = {entry.id: provider_class(entry.name).model_name(entry.model) for entry in self.config.models}
        return generation_work(self.config, self.space, names, max_reasks=self.recipe.max_reasks)
