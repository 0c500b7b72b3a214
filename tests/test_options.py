"""Options generated from settings models: adding a field adds its option, and what people type goes on working."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from docs.render_settings import PAGES, rendered
from dprm_data.cli import app
from dprm_data.cli.options import given, options_of, settings_command
from dprm_trainers.core.settings import Flag, Section
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.serving.service_settings import ServiceSettings
from tests.helpers import environ


class Settings(BaseModel):
    name: str = Field(description="Who it is.")
    rank: Annotated[int, Field(ge=0)] = Field(4, description="How many ranks.")
    rate: Annotated[float, Field(le=1)] | None = Field(None, description="How fast.")
    mode: Annotated[Literal["fast", "slow"], Section("Ways"), Flag("-w")] = Field("fast", description="Which way.")
    keep: bool = Field(True, description="Whether to keep it.")
    tags: list[str] = Field(default_factory=list, description="Some tags.")
    space: str | int | dict[str, Any] | None = None
    more: dict[str, Any] = Field(default_factory=dict)


def command(*arguments: str) -> Any:
    """What the command of these settings is given, or its message."""
    own = typer.Typer(add_completion=False)

    @own.command(cls=settings_command(lambda: Settings))
    def run(context: typer.Context, loud: bool = False) -> None:
        typer.echo(json.dumps({"loud": loud} | given(context)))

    done = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(own, arguments)
    return json.loads(done.stdout) if done.exit_code == 0 and "--help" not in arguments else done.output


def test_only_what_is_typed_is_given() -> None:
    assert command() == {"loud": False}
    typed = ("--name", "a", "--rank", "0", "--rate", "0.5", "-w", "slow", "--no-keep", "--tags", "x", "--tags", "y")
    expected = {"name": "a", "rank": 0, "rate": 0.5, "mode": "slow", "keep": False, "tags": ["x", "y"]}
    assert command(*typed, "--loud", "--space", "hh6") == expected | {"loud": True, "space": "hh6"}
    assert command("--rank", "4", "--keep") == {
        "loud": False,
        "rank": 4,
        "keep": True,
    }  # typed, though it is the default


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("--rank", "-1"), "--rank"),
        (("--rate", "2"), "--rate"),
        (("--mode", "other"), "--mode"),
        (("--rank", "many"), "--rank"),
        (("--more", "x"), "No such option"),
    ],
)
def test_a_wrong_value_names_its_option(typed: tuple[str, ...], says: str) -> None:
    assert says in command(*typed)


def test_help_has_descriptions_defaults_and_sections() -> None:
    text = command("--help")
    for part in ("Who it is.", "[default: 4]", "x>=0", "fast|slow", "--no-keep", "-w", "--loud"):
        assert part in text
    assert text.index("--rate") < text.index("Ways") < text.index("--mode")


@pytest.mark.parametrize(("which", "first"), [("reward", "--reward-model"), ("policy", "--prompts")])
def test_help_of_eval_begins_with_its_own_options(which: str, first: str) -> None:
    shown = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, ["eval", which, "--help"]).output
    assert shown.index(f"{first} ") < shown.index("--reading ")


@pytest.mark.parametrize("model", [RewardConfig, PPOConfig, ServiceSettings])
def test_every_field_has_an_option_and_says_what_it_is(model: type[BaseModel]) -> None:
    fields = set(model.model_fields) - {"trainer"}  # a mapping: YAML or --set alone can say it
    assert {option.name for option in options_of(model)} == fields
    assert not [name for name, field in model.model_fields.items() if not (field.description or "").endswith(".")]


def test_the_documentation_has_the_settings_as_they_are() -> None:
    """docs/render_settings.py writes it."""
    for page, tables in PAGES.items():
        text = page.read_text(encoding="utf-8")
        assert rendered(text, tables) == text, page.name


REWARD = {
    "--data": "o/d", "--model": "m", "--output": "o", "--labels": "hh6", "--group": "age=old", "--objective": "ce",
    "--freeze": "none", "--lora": 8, "--epochs": 2.5, "--batch-size": 4, "--accumulation": 2, "--learning-rate": 0.1,
    "--max-length": 64, "--chat-template": "plain", "--pad-token": "<pad>", "--precision": "fp32",
    "--early-stopping": 3, "--seed": 5, "--report-to": "trackio", "--push-to-hub": "a/b",
    "--checkpointing": True, "--calibrate": True, "--resume": True, "--overwrite": True,
}  # fmt: skip
PPO = {
    "--prompts": "p", "--policy": "m", "--reward-model": ["r", "s"], "--output": "o", "--reading": "cvar:0.5",
    "--steps": 3, "--epochs": 2.0, "--batch-size": 8, "--minibatches": 2, "--max-new-tokens": 9, "--kl": 0.2,
    "--kl-target": 6.0, "--missing-end-penalty": 1.0, "--quantiles": 4, "--lora": 2, "--train-layers": 0,
    "--learning-rate": 0.1, "--precision": "bf16", "--seed": 5, "--push-to-hub": "a/b",
    "--checkpointing": True, "--resume": True, "--overwrite": True,
}  # fmt: skip


def trained_with(monkeypatch: pytest.MonkeyPatch, which: str, *arguments: str) -> Any:
    """The settings with which `dprm train` would train."""
    import dprm_trainers.ppo.ppo_trainer
    import dprm_trainers.reward.reward_trainer

    seen: list[Any] = []

    def train(settings: Any, say: Any) -> None:
        seen.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(dprm_trainers.reward.reward_trainer, "train_reward", train)
    monkeypatch.setattr(dprm_trainers.ppo.ppo_trainer, "train_ppo", train)
    done = CliRunner().invoke(app, ["train", which, *arguments])
    assert seen, done.output
    return seen[0]


@pytest.mark.parametrize(("which", "flags"), [("reward", REWARD), ("ppo", PPO)])
def test_the_flags_people_use(which: str, flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[str] = []
    for flag, value in flags.items():
        for one in value if isinstance(value, list) else [value]:
            typed += [flag] if one is True else [flag, str(one)]
    found = trained_with(monkeypatch, which, *typed).model_dump()
    names = {flag: "kl_coefficient" if flag == "--kl" else flag[2:].replace("-", "_") for flag in flags}
    assert {flag: found[name] for flag, name in names.items()} == flags


def test_what_no_file_gives_is_required() -> None:
    assert "Missing option '--reward-model' / '-m'" in CliRunner().invoke(app, ["serve"]).output


def test_short_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained_with(monkeypatch, "reward", "--data", "o/d", "--model", "m", "-o", "x", "-q").output == "x"
    found = trained_with(monkeypatch, "ppo", "--prompts", "p", "--policy", "m", "-m", "a", "-m", "b", "-o", "x")
    assert (found.reward_model, found.output) == (["a", "b"], "x")


def test_flags_go_before_the_file_and_set_before_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("data: o/d\nmodel: m\nepochs: 3\nbatch_size: 4\nseed: 7\ncalibrate: true\ngroup_by_length: false\n")
    flags = ("--config", str(file), "--epochs", "2", "--batch-size", "16", "--no-calibrate", "--lora", "4")
    found = trained_with(monkeypatch, "reward", *flags, "--set", "lora=8", "--set", "trainer={optim: sgd}")
    assert (found.epochs, found.batch_size, found.calibrate, found.lora) == (2.0, 16, False, 8)
    assert (found.data, found.seed, found.group_by_length, found.trainer) == ("o/d", 7, False, {"optim": "sgd"})


def test_help_of_a_training_needs_no_torch_and_other_commands_no_settings(tmp_path: Path) -> None:
    program = "import sys\nfrom dprm_data.cli import app\ntry:\n    app(sys.argv[1:])\nexcept SystemExit:\n    pass\nprint(sorted(set(sys.modules) & {'torch', 'transformers', 'numpy', 'dprm_trainers'}), file=sys.stderr)"
    for arguments, loaded in (
        (["train", "ppo", "--help"], "['dprm_trainers']"),
        (["train", "reward", "--help"], "['dprm_trainers']"),
        (["train", "--help"], "[]"),
        (["plan", "--help"], "[]"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=environ(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr.strip() == loaded, arguments
