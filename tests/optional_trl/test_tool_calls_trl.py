"""Published conversations with calls of tools, unconverted, in TRL's trainers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is not installed here: make test-trl")

from datasets import load_dataset
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

from dprm_data.publish.publication import prepared
from dprm_data.runs.run import Run
from tests.optional_trl.test_trl import STEPS, config, language_model, losses, tokenizer  # noqa: F401 - fixtures
from tests.publish.test_tool_calls import agents  # noqa: F401 - a fixture

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] or '' }}"
    "{% for call in m['tool_calls'] or [] %}{{ call['function']['name'] }}:{{ call['function']['arguments'] }}{% endfor %}"
    "</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def pairs(agents: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: F811
    folder = tmp_path_factory.mktemp("hub") / "agents"
    with prepared(Run.open(agents[0]), "acme/agents") as publication:
        shutil.copytree(publication.files["README.md"].local.parent, folder)
    return load_dataset(str(folder), "preferences", split="train")


def test_the_reward_trainer_reads_the_calls(pairs: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:  # noqa: F811
    from trl import RewardConfig, RewardTrainer

    tokenizer.chat_template = CHAT
    trainer = RewardTrainer(
        model=LlamaForSequenceClassification(config(tokenizer, num_labels=1)),
        args=RewardConfig(output_dir=str(tmp_path), max_length=512, **STEPS),
        train_dataset=pairs,
        processing_class=tokenizer,
    )
    first = next(iter(trainer.get_train_dataloader()))
    assert "<assistant>get_weather:" in tokenizer.decode(first["input_ids"][0])
    losses(trainer)


def test_the_dpo_trainer_takes_them(
    pairs: Any,
    tokenizer: PreTrainedTokenizerFast,  # noqa: F811
    language_model: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    from trl import DPOConfig, DPOTrainer

    tokenizer.chat_template = CHAT
    losses(
        DPOTrainer(
            model=language_model,
            args=DPOConfig(output_dir=str(tmp_path), max_length=512, **STEPS),
            train_dataset=pairs,
            processing_class=tokenizer,
        )
    )
