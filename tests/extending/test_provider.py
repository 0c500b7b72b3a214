"""A provider from outside the package: installed and named in a recipe, registered in Python, or an object given to `run`."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dprm_data import DprmError, FunctionProvider, Recipe, Run, run
from dprm_data.core.registry import PROVIDERS
from dprm_data.pipeline import stages
from dprm_data.providers.provider import BaseProvider, provider
from dprm_data.providers.request import Answer, CallFailed, Request, Usage
from tests.helpers import PAIRS, ROOT, answer, dprm, write_recipe

NO_PROVIDER: dict[str, Any] = {"panel": "small", "labels": 3}  # 4 items x 4 personas

PACKAGE = '''
from pathlib import Path
from dprm_data.extend import Answer, BaseProvider, Request, Usage, provider

Path(__file__).with_name("imported").touch()


@provider("parrot")
class Parrot(BaseProvider):
    """Chooses the same label for ever, and writes down that it was asked."""

    title = "the parrot"
    has_logprobs = False
    refuses = {"seed": "a parrot has no seed"}
    options = frozenset({"log"})

    def __init__(self, log):
        self.log = Path(log)

    @classmethod
    def from_config(cls, config, environ):
        return cls(config.options["log"])

    @classmethod
    def model_name(cls, model):
        return model + "-1"

    async def complete(self, request: Request) -> Answer:
        with self.log.open("a") as file:
            file.write(request.model + "\\n")
        return Answer('{"label": "neutral and harmless"}', "stop", Usage(10, 2), request.model)
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the package, as pip leaves it there."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "parrots.py").write_text(PACKAGE)
    info = folder / "parrots-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parrots\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dprm_data]\nparrot = parrots\n")
    return folder


def command(site: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return dprm(*arguments, cwd=folder, PYTHONPATH=f"{site}:{ROOT}")


def parrot(folder: Path, **settings: Any) -> dict[str, Any]:
    price = {"input": 1, "output": 2}
    return {"name": "parrot", "model": "polly", "options": {"log": str(folder / "log")}, "price": price} | settings


def test_an_installed_provider_is_planned_run_and_resumed(site: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, provider=parrot(tmp_path))
    planned = answer(command(site, tmp_path, "plan", recipe, "--json"))
    assert planned["calls_needed"] == 16 and planned["prices"] == "the recipe's own price"
    assert not (tmp_path / "log").exists()

    done = answer(command(site, tmp_path, "run", recipe, "--json"))
    assert done["annotate"]["calls"] == 16 and done["summary"]["statuses"] == {"ok": 16}
    assert done["annotate"]["cost"] == pytest.approx(16 * (10 * 1 + 2 * 2) / 1e6)
    assert (tmp_path / "log").read_text().splitlines() == ["polly-1"] * 16

    again = answer(command(site, tmp_path, "run", recipe, "--json"))
    assert again["annotate"]["calls"] == 0, "all of it is in the ledger"
    exported = command(site, tmp_path, "ledger", "export", "run", "calls.jsonl")
    assert exported.returncode == 0, exported.stderr
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert len(calls) == 16 and {call["model"] for call in calls} == {"polly-1"}


@pytest.mark.slow
def test_a_run_can_be_read_where_its_provider_is_not_installed(site: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, provider=parrot(tmp_path))
    answer(command(site, tmp_path, "run", recipe, "--json"))
    shown = answer(dprm("show", "run", "--json", cwd=tmp_path))
    assert shown["summary"]["statuses"] == {"ok": 16}
    refused = dprm("run", recipe, cwd=tmp_path)
    assert refused.returncode == 2 and "there is no provider 'parrot'" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "settings", "says"),
    [
        (
            {},
            {"name": "parot"},
            "provider.name: there is no provider 'parot'; did you mean 'parrot'? (installed: openai,",
        ),
        ({}, {"seed": 1}, "provider.seed: a parrot has no seed"),
        ({}, {"options": {"lgo": "x"}}, "provider.options.lgo: the parrot has no such option (has: log)"),
        ({"mode": "batch"}, {}, "mode: the parrot has no batches"),
        (
            {"elicitation": "logprobs"},
            {},
            "provider: the parrot gives no log-probabilities, which elicitation: logprobs reads",
        ),
    ],
)
def test_what_it_cannot_do_is_said_with_its_line(
    site: Path, tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any], says: str
) -> None:
    recipe = write_recipe(tmp_path, provider=parrot(tmp_path, **settings), **changes)
    done = command(site, tmp_path, "plan", recipe)
    assert done.returncode == 2 and says in " ".join(done.stderr.split())
    assert f"{recipe}:" in done.stderr.replace("\n", "")


def test_extensions_are_imported_for_unknown_names_only(site: Path, tmp_path: Path) -> None:
    marker = site / "imported"
    marker.unlink(missing_ok=True)
    assert command(site, tmp_path, "plan", write_recipe(tmp_path)).returncode == 0
    assert not marker.exists()
    assert command(site, tmp_path, "plan", write_recipe(tmp_path, provider=parrot(tmp_path))).returncode == 0
    assert marker.exists()


@pytest.fixture
def even() -> Iterator[str]:
    """A provider that a script or a notebook registers for itself."""

    @provider("even")
    class Even(BaseProvider):
        is_free = True
        needs_model = False

        async def complete(self, request: Request) -> Answer:
            return Answer('{"label": "1"}', "stop", Usage(5, 1), request.model)

    yield "even"
    PROVIDERS._found.pop("even")


def test_a_decorator_in_ones_own_code_is_enough(even: str, tmp_path: Path) -> None:
    result = run(NO_PROVIDER | {"provider": {"name": even}}, source=PAIRS, output=tmp_path / "run", max_cost=0)
    assert result.counters.calls == 16 and result.counters.cost == 0


def constant(request: Request) -> str:
    return '{"label": "1"}'


async def asynchronous(request: Request) -> Answer:
    await asyncio.sleep(0)
    return Answer('{"label": "1"}', "stop", Usage(7, 3), request.model)


@pytest.mark.parametrize("function", [constant, asynchronous])
def test_a_function_judges(function: Any, tmp_path: Path) -> None:
    judge = FunctionProvider(function)
    result = run(NO_PROVIDER, source=PAIRS, output=tmp_path / "run", provider=judge)
    assert result.counters.calls == 16 and not result.counters.cost_known
    assert result.distributions["votes"].to_pylist() == [[4.0, 0.0, 0.0]] * 4
    again = run(NO_PROVIDER, source=PAIRS, output=tmp_path / "run", provider=judge)
    assert again.counters.calls == 0


def test_a_function_s_run_is_planned_and_read_again(tmp_path: Path) -> None:
    result = run(NO_PROVIDER, source=PAIRS, output=tmp_path / "run", provider=FunctionProvider(constant, model="v1"))
    reopened = Run.open(result.folder.path)
    assert (reopened.recipe.provider.name, reopened.recipe.provider.model) == ("function", "v1")
    assert stages.collect(reopened) == 16, "the calls are found by the same keys"
    stages.fit(reopened, family="dirichlet")
    for model, needed in (("v1", 0), ("v2", 16)):
        planned = stages.plan(
            Run(
                Recipe.of(NO_PROVIDER, provider=FunctionProvider(constant, model=model)),
                result.folder,
                provider=FunctionProvider(constant, model=model),
            )
        )
        assert (planned.calls_needed, planned.cost) == (needed, None)


class Failing:
    """Any object with these three will do."""

    family = "failing"
    closed = 0

    async def complete(self, request: Request) -> Answer:
        raise CallFailed("rejected", "this one says no")

    async def aclose(self) -> None:
        self.closed += 1


def test_an_object_s_failures_are_the_run_s_and_it_is_closed(tmp_path: Path) -> None:
    judge = Failing()
    with pytest.raises(DprmError, match="this one says no"):
        run(NO_PROVIDER, source=PAIRS, output=tmp_path / "run", provider=judge)
    assert judge.closed == 1


def test_an_object_takes_the_place_of_the_recipe_s_provider(tmp_path: Path) -> None:
    """Its family is in the keys; the recipe's model and price stay, and a budget holds by them."""
    section = {"name": "anthropic", "model": "mine", "price": {"input": 1e6, "output": 1e6}, "max_tokens": 10}
    recipe = Recipe.of(NO_PROVIDER | {"provider": section})
    job = Run(recipe, provider=FunctionProvider(asynchronous))
    assert (job.work.elicitation.family, job.work.elicitation.model) == ("function", "mine")
    assert job.prices["mine"].cost(Usage(7, 3)) == 10
    with pytest.raises(DprmError, match="the budget of"):
        run(recipe, source=PAIRS, output=tmp_path / "run", provider=FunctionProvider(asynchronous), max_cost=1)


def test_a_budget_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(DprmError, match="a budget cannot be kept"):
        run(NO_PROVIDER, source=PAIRS, output=tmp_path / "run", provider=FunctionProvider(constant), max_cost=1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mode": "batch"}, "mode: batch: the provider 'function' has no batches"),
        ({"engine": "ray", "ledger": "postgresql://u@h/d"}, "engine: ray: a provider that is an object"),
    ],
)
def test_what_an_object_cannot_do_is_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(DprmError, match=says):
        run(NO_PROVIDER | changes, source=PAIRS, output=tmp_path / "run", provider=FunctionProvider(constant))
    assert not (tmp_path / "run").exists()
