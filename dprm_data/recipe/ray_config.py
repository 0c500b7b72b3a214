"""The `ray` section of a recipe: how the work is spread over a cluster."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from dprm_data.recipe.section import Positive, Section


class RayConfig(Section):
    """How the work is distributed (engine: ray). See docs/ray.md for what a cluster needs."""

    # Of a running cluster: auto, or host:port. By default a local Ray is started for this run.
    address: str | None = None
    # A number, or [fewest, most].
    actors: Annotated[int, Field(gt=0)] | tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = 2
    cpus: Positive = 1.0  # processors reserved for each actor
    batch_size: Annotated[int, Field(gt=0)] | None = None  # items per task of an actor; default: automatic
    runtime_env: dict[str, Any] = {}  # Ray's runtime environment (pip, working_dir, ...), passed on unchanged

    @property
    def fewest_and_most(self) -> tuple[int, int]:
        """The smallest and largest number of actors."""
        return (self.actors, self.actors) if isinstance(self.actors, int) else self.actors

    @model_validator(mode="after")
    def _sensible(self) -> RayConfig:
        fewest, most = self.fewest_and_most
        if fewest > most:
            raise ValueError(f"actors: [{fewest}, {most}] must be [fewest, most]")
        if (self.address or "").startswith("ray://"):
            raise ValueError(
                "address: Ray's client (ray://) cannot do this; start the run on a node, with address: auto"
            )
        if "env_vars" in self.runtime_env:
            raise ValueError(
                "runtime_env: env_vars cannot be given in a recipe, where keys would be kept; set them on the nodes"
            )
        return self
