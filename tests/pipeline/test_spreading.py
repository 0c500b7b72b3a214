"""What can be said of a run on Ray without Ray: what is refused before it starts, and what travels. The rest is in tests/optional_ray."""

from __future__ import annotations

import pickle
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.errors import InputError, RecipeError
from dprm_data.pipeline.ray.job_spec import JobSpec
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.run import Run
from tests.helpers import write_recipe
from tests.processes import dprm
from tests.servers.postgres import PASSWORD, Database

LEDGER = "postgresql://dprm@db.internal/prefs"
PROVIDER = {"name": "openai", "model": "gpt-4o-mini"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ledger": None}, "needs a ledger that all actors share"),
        ({"ledger": "ledger.sqlite"}, "a SQLite file can be held by one process only"),
        ({"mode": "batch"}, "need no actors"),
        ({"early_stop": {"within": 0.4}}, "early_stop learns from the items of one process"),
        ({"ray": {"actors": [4, 2]}}, "must be [fewest, most]"),
        ({"ray": {"actors": 0}}, "greater than 0"),
        ({"ray": {"address": "ray://head:10001"}}, "address: auto"),
        ({"ray": {"runtime_env": {"env_vars": {"OPENAI_API_KEY": "sk-1"}}}}, "env_vars cannot be given in a recipe"),
        ({"engine": "dask"}, "direct"),
    ],
)
def test_what_cannot_be_spread_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        Recipe.of({"provider": PROVIDER, "engine": "ray", "ledger": LEDGER} | changes)
    assert words in str(refused.value) and "sk-1" not in str(refused.value)


def test_how_it_is_run_changes_nothing_of_what_is_asked(tmp_path: Path) -> None:
    plain = {"provider": PROVIDER, "panel": {"use": "paper", "sample": 3}, "prior": {}}
    on_ray = plain | {"engine": "ray", "ledger": LEDGER, "ray": {"actors": [1, 9], "batch_size": 7}}
    keys = {Run(Recipe.of(recipe)).work.plan_key() for recipe in (plain, on_ray)}
    assert len(keys) == 1


def test_a_run_that_is_reopened_asks_for_the_same(tmp_path: Path) -> None:
    """The folder has the panel written out, where the recipe named it: what was done is done all the same."""
    recipe = Recipe.of({"provider": PROVIDER, "panel": "paper", "output": str(tmp_path / "run"), "prior": {}})
    run = Run(recipe)
    run.freeze()
    assert Run.open(tmp_path / "run").work.plan_key() == run.work.plan_key()


def test_a_job_spec_needs_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The panel, the labels and the template are files that are gone where it is opened, and so is the key."""
    (tmp_path / "panel.yaml").write_text(
        "name: two\npersonas:\n- {id: a, description: You are A.}\n- {id: b, description: You are B.}\n"
    )
    (tmp_path / "labels.yaml").write_text(
        "name: yesno\nlabels:\n- {name: 'no', reward: 0}\n- {name: 'yes', reward: 1}\n"
    )
    (tmp_path / "ask.jinja").write_text(
        "{% block item %}{{ response }}{% endblock %}{% block persona %}{{ persona.description }}{% endblock %}"
    )
    changes = {
        "panel": "panel.yaml",
        "labels": "labels.yaml",
        "prompt": "ask.jinja",
        "prior": {},
        "engine": "ray",
        "ledger": LEDGER,
    }
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    here = Run(Recipe.load(write_recipe(tmp_path, **changes)))
    packed = pickle.dumps(JobSpec.of(here, max_cost=1.5, retry_failed=True))
    assert b"sk-secret" not in packed
    for name in ("panel.yaml", "labels.yaml", "ask.jinja", "recipe.yaml"):
        (tmp_path / name).unlink()
    job_spec = pickle.loads(packed)
    there = job_spec.open()
    assert there.work.plan_key() == here.work.plan_key()
    assert (job_spec.max_cost, job_spec.retry_failed) == (1.5, True)


def test_another_version_cannot_open_a_job_spec(tmp_path: Path) -> None:
    job_spec = JobSpec.of(Run(Recipe.of({"provider": PROVIDER})), max_cost=None, retry_failed=False)
    with pytest.raises(InputError, match=r"0\.0\.0 where the run was started"):
        replace(job_spec, program="0.0.0").open()
    with pytest.raises(InputError, match="another meaning here"):
        replace(job_spec, plan_key=b"another").open()


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_it_is_said_what_to_install(tmp_path: Path, postgres: Database) -> None:
    recipe = write_recipe(tmp_path, engine="ray", ledger=postgres.url)
    done = dprm("run", "--no-fit", recipe, cwd=tmp_path, PGPASSWORD=PASSWORD)
    assert done.returncode == 2
    assert "pip install 'dprm-data[ray,postgres]'" in done.stderr and "Traceback" not in done.stderr
