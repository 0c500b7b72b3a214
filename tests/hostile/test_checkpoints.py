"""Trainings that are killed, and checkpoints and models of which only a part is on the disk."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dprm_trainers.core.checkpoints import damage
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.outputs import MARKS
from dprm_trainers.ppo.policy import load_policy
from dprm_trainers.ppo.ppo_trainer import train_ppo
from dprm_trainers.ppo.prompt_sets import Prompts
from dprm_trainers.reward.pretrained import load_model, load_policy_tokenizer, load_tokenizer
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from tests.trainers import ppo_tiny, tiny

pytestmark = pytest.mark.slow

torch.set_num_threads(1)
KILLED = 9
EVERY = int(os.environ.get("DPRM_KILL_EVERY", "5"))  # 1 tries every point, in some minutes
STEPS = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir")

Train = Callable[..., list[str]]


def reward_training(folder: Path) -> Train:
    """A training of two checkpoints, in `folder/NAME`."""
    data = str(tiny.write(folder / "data.parquet", tiny.rows(12)))

    def train(name: str, **changes: Any) -> list[str]:
        said: list[str] = []
        train_reward(tiny.settings(folder, data=data, output=str(folder / name), epochs=2, **changes), said.append)
        return said

    return train


def policy_training(folder: Path) -> Train:
    ppo_tiny.config(folder)
    prompts = Prompts(ppo_tiny.PROMPTS, [str(i) for i in range(len(ppo_tiny.PROMPTS))], "tests")
    reward = ppo_tiny.by_text(lambda text: len(text) % 7)

    def train(name: str, **changes: Any) -> list[str]:
        said: list[str] = []
        settings = ppo_tiny.config(folder, output=str(folder / name), steps=2, save_every=1, **changes)
        train_ppo(settings, said.append, prompts=prompts, reward=reward)
        return said

    return train


TRAININGS = {"reward": reward_training, "policy": policy_training}


@pytest.fixture(scope="module", params=TRAININGS)
def training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Train]:
    """A training that was not disturbed, in the folder `whole`."""
    folder = tmp_path_factory.mktemp(request.param)
    train = TRAININGS[request.param](folder)
    train("whole")
    return folder, train


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)


def killed_at(count: int, output: Path, train: Callable[[], object]) -> bool:
    """Run in a process that dies at its count-th change of names in the output folder; whether it died."""
    child = os.fork()
    if child == 0:
        left = count

        def deadly(step: Callable[..., Any]) -> Callable[..., Any]:
            def called(path: Any, *more: Any, **options: Any) -> Any:
                nonlocal left
                if options.get("dir_fd") is not None or str(path).startswith(str(output)):
                    left -= 1
                    if left == 0:
                        os._exit(KILLED)
                return step(path, *more, **options)

            return called

        for name in STEPS:
            setattr(os, name, deadly(getattr(os, name)))
        try:
            train()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_training_killed_between_any_two_renames_goes_on(training: tuple[Path, Train]) -> None:
    folder, train = training
    output, count = folder / "killed", 1
    while True:
        shutil.rmtree(output, ignore_errors=True)
        died = killed_at(count, output, lambda: train("killed"))
        if any((output / mark).exists() for mark in MARKS):
            assert same(output, folder / "whole"), count  # nothing half-written is taken for a model
        if not died:
            break
        train("killed", resume=True)
        assert same(output, folder / "whole"), count
        assert (output / "README.md").is_file()
        assert not (output / ".model").exists()
        count += EVERY
    assert count > 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_model_is_replaced_whole_or_not_at_all(training: tuple[Path, Train]) -> None:
    """Trained again where there is a model: no mixture of the two."""
    folder, train = training
    output, count, died = folder / "again", 1, True
    train("other", seed=5)
    while died:
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(folder / "other", output)
        died = killed_at(count, output, lambda: train("again", overwrite=True))
        if (output / "config.json").exists():
            assert same(output, folder / "whole") or same(output, folder / "other"), count
            assert (output / "tokenizer.json").exists()
        count += EVERY
    assert same(output, folder / "whole")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zeroed(file: Path) -> None:
    file.write_bytes(b"\0" * file.stat().st_size)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def checkpoints(output: Path) -> list[Path]:
    """Latest last."""
    return sorted((output / "checkpoints").glob("[cs]*-*"), key=lambda place: int(place.name.rpartition("-")[2]))


@pytest.mark.parametrize("harm", [cut, zeroed, emptied, Path.unlink])
def test_a_checkpoint_that_is_not_whole_is_passed_over(
    training: tuple[Path, Train], harm: Callable[[Path], None]
) -> None:
    folder, train = training
    last = checkpoints(folder / "whole")[-1]
    needed = [
        file.name
        for file in last.iterdir()
        if file.suffix in (".safetensors", ".pt", ".pth") or file.name == "trainer_state.json"
    ]
    if harm is Path.unlink:
        needed = [name for name in needed if name in ("trainer_state.json", "model.safetensors", "state.pt")]
    for name in needed:
        output = folder / "harmed"
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(folder / "whole", output)
        harm(checkpoints(output)[-1] / name)
        said = train("harmed", resume=True)
        assert any("is not whole" in line and ("set aside" in line) and last.name in line for line in said), name
        assert any("resuming from" in line for line in said), name
        assert same(output, folder / "whole"), name
        assert len(checkpoints(output)) == 2


def test_without_a_whole_checkpoint_it_begins_anew(training: tuple[Path, Train]) -> None:
    folder, train = training
    shutil.copytree(folder / "whole", folder / "none")
    for place in checkpoints(folder / "none"):
        for file in place.iterdir():
            emptied(file)
    said = train("none", resume=True)
    assert sum("is not whole" in line for line in said) == 2
    assert any("no checkpoint to resume from" in line for line in said)
    assert same(folder / "none", folder / "whole")


def test_one_bit_of_a_saved_tensor(tmp_path: Path) -> None:
    """What `torch.save` writes has checksums."""
    torch.save({"x": torch.ones(1000)}, tmp_path / "state.pt")
    assert damage(tmp_path) is None
    content = bytearray((tmp_path / "state.pt").read_bytes())
    with zipfile.ZipFile(tmp_path / "state.pt") as parts:
        offset = max(part.header_offset for part in parts.infolist() if part.file_size == 4000)
    content[offset + 2000] ^= 1
    (tmp_path / "state.pt").write_bytes(content)
    assert damage(tmp_path) == "state.pt cannot be read: ValueError"


def test_two_checkpoints_are_kept_and_no_more_disk_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    save = torch.save

    def counted(*arguments: Any, **options: Any) -> None:
        nonlocal most
        most = max(most, len(checkpoints(tmp_path / "out")))
        save(*arguments, **options)

    monkeypatch.setattr(torch, "save", counted)
    train_reward(tiny.settings(tmp_path, output=str(tmp_path / "out"), epochs=5))
    assert most == 2
    assert len(checkpoints(tmp_path / "out")) == 2
    assert RewardModel.load(str(tmp_path / "out")).space == tiny.SPACE


# -- models of strangers --------------------------------------------------------------------------------------------------

SPACE = tiny.SPACE.model_dump(mode="json")
RECORDS: dict[str, Any] = {
    "a list": [1],
    "a text": "hh6",
    "no space": {"version": 1},
    "a path": {"label_space": "/etc/hostname"},
    "a number": {"label_space": 1000},
    "no labels": {"label_space": {"name": "x", "axes": [], "labels": []}},
    "rewards that are texts": {"label_space": SPACE | {"labels": [{"name": "a", "reward": "high"}]}},
    "a deep space": {"label_space": {"name": [[[[[{}]]]]]}},
    "another size": {"label_space": tiny.LabelSpace.ordinal(3).model_dump(mode="json")},
    "a scalar of six": {"label_space": SPACE, "scalar": True},
    "a length": {"label_space": SPACE, "max_length": "long"},
    "no length": {"label_space": SPACE, "max_length": -1},
    "a huge length": {"label_space": SPACE, "max_length": 10**400},
    "a group": {"label_space": SPACE, "group": ["age"]},
    "a split": {"label_space": SPACE, "split": {"test": {}}},
}
CONFIGS = [
    b"",
    b"\0" * 500,
    b"[]",
    b"3",
    b'{"dprm": ',
    b"\xff\xfe{}",
    b"{}",
    b'{"a":' * 50_000,
    b'{"dprm": ' + b"[" * 900 + b"]" * 900 + b"}",
]


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    return tiny.reward_model(tmp_path / "model")


def refused(model: Path) -> str:
    """The message with which the model is refused by what reads all of it, and by what reads its config."""
    with pytest.raises(TrainingError) as caught:
        RewardModel.load(str(model))
    return caught.value.message


@pytest.mark.parametrize("name", RECORDS)
def test_a_malformed_record(stranger: Path, name: str) -> None:
    config = json.loads((stranger / "config.json").read_text())
    (stranger / "config.json").write_text(json.dumps(config | {"dprm": RECORDS[name]}))
    message = refused(stranger)
    assert str(stranger) in message
    assert Path("/etc/hostname").read_text().strip() not in message.replace(str(stranger), "")


@pytest.mark.parametrize("content", CONFIGS, ids=range(len(CONFIGS)))
def test_a_malformed_config(stranger: Path, content: bytes) -> None:
    (stranger / "config.json").write_bytes(content)
    assert str(stranger) in refused(stranger)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("harm", [cut, zeroed, emptied])
def test_malformed_files_of_a_model(stranger: Path, file: str, harm: Callable[[Path], None]) -> None:
    harm(stranger / file)
    assert str(stranger) in refused(stranger)


def test_missing_weights_are_not_drawn_at_random(stranger: Path) -> None:
    found = load_file(stranger / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in found.items() if name != "score.weight"},
        stranger / "model.safetensors",
        {"format": "pt"},
    )
    assert "lacks weights of a reward model: score.weight" in refused(stranger)
    save_file(found | {"score.weight": torch.zeros(4, 16)}, stranger / "model.safetensors", {"format": "pt"})
    assert str(stranger) in refused(stranger)


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def load_reward(folder: Path) -> object:
    return RewardModel.load(str(folder))


def load_base(folder: Path) -> object:
    config = tiny.settings(folder.parent, model=str(folder), labels="hh6")
    tokenizer, model_config, length = load_tokenizer(config, tiny.SPACE)
    return load_model(config, model_config, tokenizer, tiny.SPACE, length)


def load_generator(folder: Path) -> object:
    load_policy_tokenizer(str(folder), max_new_tokens=4, max_prompt_length=None, chat_template=None, pad_token=None)
    return load_policy(str(folder))


@pytest.mark.parametrize("load", [load_reward, load_base, load_generator])
def test_no_pickle_is_read(tmp_path: Path, load: Callable[[Path], object]) -> None:
    make = tiny.reward_model if load is load_reward else tiny.base_model
    folder = make(tmp_path / "model")
    load(folder)
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Bomb(tmp_path / "exploded"), file)
    with pytest.raises(TrainingError, match="cannot load"):
        load(folder)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("load", [load_reward, load_base, load_generator])
def test_no_code_of_a_model_runs(
    tmp_path: Path, load: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anybody asked whether it may."""
    monkeypatch.setattr("builtins.input", lambda *_: (tmp_path / "asked").touch())
    folder = (tiny.reward_model if load is load_reward else tiny.base_model)(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    names = {f"Auto{kind}": f"code.{kind}" for kind in ("Config", "ModelForSequenceClassification", "ModelForCausalLM")}
    (folder / "code.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": names, "model_type": "unheard-of"}))
    with pytest.raises(TrainingError, match=r"cannot load .*never run"):
        load(folder)
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": names}))
    load(folder)  # transformers has this kind: its own code is used
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "asked").exists()


def test_cached_features_that_were_cut_off_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPRM_CACHE", str(tmp_path / "cache"))
    train_reward(tiny.settings(tmp_path, freeze="backbone", epochs=1))
    for harm in (cut, zeroed, emptied):
        for file in (tmp_path / "cache" / "features").glob("*.npy"):
            harm(file)
        train_reward(tiny.settings(tmp_path, freeze="backbone", epochs=1, output=str(tmp_path / harm.__name__)))
        assert same(tmp_path / harm.__name__, tmp_path / "trained")
