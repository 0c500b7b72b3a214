"""Published data, unconverted, in TRL's trainers: reward modelling, DPO, KTO, GRPO.

`make test-trl` runs this in an environment of its own with torch and trl; elsewhere it is skipped. A tiny model with random weights learns for a few steps: what is
tested is that the data fits, not that anything is learned.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is not installed here: make test-trl")

from datasets import load_dataset
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from dprm_data.publish.publication import prepared
from dprm_data.runs.run import Run
from tests.publish.conftest import finished  # noqa: F401 - a fixture

CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
STEPS: dict[str, Any] = {
    "max_steps": 3,
    "per_device_train_batch_size": 2,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "use_cpu": True,
    "bf16": False,
}


@pytest.fixture(scope="module")
def repository(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The files of a publication, as they lie in the dataset repository."""
    run = Run.open(finished).with_publish({"also": ["unpaired"]})
    with prepared(run, "acme/prefs") as publication:
        return Path(
            shutil.copytree(publication.files["README.md"].local.parent, tmp_path_factory.mktemp("hub") / "prefs")
        )


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(["<pad>", "</s>", *alphabet])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>")
    made.chat_template = CHAT
    return made


def config(tokenizer: PreTrainedTokenizerFast, **more: Any) -> LlamaConfig:
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    return LlamaConfig(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, max_position_embeddings=1024, **sizes, **more
    )


@pytest.fixture(scope="module")
def language_model(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny model: trainers with a reference model load it a second time."""
    folder = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def losses(trainer: Any) -> list[float]:
    """The losses of a few steps of training."""
    trainer.train()
    found = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(found) == STEPS["max_steps"]
    assert all(math.isfinite(loss) for loss in found)
    return found


def test_reward_trainer(repository: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    from trl import RewardConfig, RewardTrainer

    data = load_dataset(str(repository), "preferences")
    trainer = RewardTrainer(
        model=LlamaForSequenceClassification(config(tokenizer, num_labels=1)),
        args=RewardConfig(output_dir=str(tmp_path), max_length=512, **STEPS),
        train_dataset=data["train"],
        eval_dataset=data["test"],
        processing_class=tokenizer,
    )
    first = next(iter(trainer.get_train_dataloader()))
    assert losses(trainer)
    assert trainer.evaluate()["eval_loss"] > 0
    assert "margin" in first  # the margin of the two expected rewards is used


def test_dpo_trainer(repository: Path, tokenizer: PreTrainedTokenizerFast, language_model: str, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    losses(
        DPOTrainer(
            model=language_model,
            args=DPOConfig(output_dir=str(tmp_path), max_length=512, **STEPS),
            train_dataset=load_dataset(str(repository), "preferences", split="train"),
            processing_class=tokenizer,
        )
    )


@pytest.mark.parametrize("name", ["preferences", "unpaired"])
def test_kto_trainer(
    repository: Path, tokenizer: PreTrainedTokenizerFast, language_model: str, tmp_path: Path, name: str
) -> None:
    try:
        from trl import KTOConfig, KTOTrainer
    except ImportError:
        from trl.experimental.kto import KTOConfig, KTOTrainer

    losses(
        KTOTrainer(
            model=language_model,
            args=KTOConfig(output_dir=str(tmp_path), max_length=512, **STEPS),
            train_dataset=load_dataset(str(repository), name, split="train"),
            processing_class=tokenizer,
        )
    )


@pytest.mark.parametrize(("what", "trainer"), [("pairs", "dpo"), ("unpaired", "kto")])
def test_exports(
    finished: Path,  # noqa: F811
    tokenizer: PreTrainedTokenizerFast,
    language_model: str,
    tmp_path: Path,
    what: str,
    trainer: str,
) -> None:
    from trl import DPOConfig, DPOTrainer

    from dprm_data.publish.export_files import write_table_file
    from dprm_data.runs.training_formats import TRAINING_FORMATS

    try:
        from trl import KTOConfig, KTOTrainer
    except ImportError:
        from trl.experimental.kto import KTOConfig, KTOTrainer

    write_table_file(TRAINING_FORMATS[what](Run.open(finished)).rows, tmp_path / "rows.jsonl", "jsonl")
    kind, settings = {"dpo": (DPOTrainer, DPOConfig), "kto": (KTOTrainer, KTOConfig)}[trainer]
    losses(
        kind(
            model=language_model,
            args=settings(output_dir=str(tmp_path), max_length=512, **STEPS),
            train_dataset=load_dataset("json", data_files=str(tmp_path / "rows.jsonl"), split="train"),
            processing_class=tokenizer,
        )
    )


def test_grpo_trainer(repository: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    from trl import GRPOConfig, GRPOTrainer

    seen: list[dict[str, Any]] = []

    def reward(completions: list[Any], **columns: Any) -> list[float]:
        seen.append(columns)
        return [float(len(completion[0]["content"])) for completion in completions]

    losses(
        GRPOTrainer(
            model=LlamaForCausalLM(config(tokenizer)),
            reward_funcs=reward,
            args=GRPOConfig(output_dir=str(tmp_path), num_generations=2, max_completion_length=8, **STEPS),
            train_dataset=load_dataset(str(repository), "default", split="train"),
            processing_class=tokenizer,
        )
    )
    # A reward function is given what the dataset knows of the prompt.
    assert {"label_distribution", "expected_reward", "group_id"} <= set(seen[0])
