"""A local model is checked before it is loaded, and its calls get the time that they need."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from dprm_data.core.errors import InputError
from dprm_data.providers import machine
from dprm_data.providers.capabilities import Capabilities
from dprm_data.providers.gguf import read_header
from dprm_data.providers.local import LocalProvider
from dprm_data.providers.local_model import find_model
from dprm_data.providers.local_speed import Speed
from dprm_data.providers.model_file import model_file
from dprm_data.providers.request import CallFailed, Request
from dprm_data.recipe.provider_config import ProviderConfig
from tests.providers.test_local import PERSONAS, opinion


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(values: dict[str, object], *, weights: int = 256, keys: int | None = None) -> bytes:
    """A GGUF file with these keys and one tensor of 4-byte weights."""
    out = b"GGUF" + struct.pack("<IQQ", 3, 1, len(values) if keys is None else keys)
    for key, value in values.items():
        out += text(key)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + text(value)
        elif isinstance(value, list):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        else:
            out += struct.pack("<II", 4, value)
    out += text("token_embd.weight") + struct.pack("<IQIQ", 1, weights, 0, 0)
    return out + bytes(-len(out) % 32) + bytes(4 * weights)


LLAMA: dict[str, object] = {
    "general.architecture": "llama",
    "general.license": "mit",
    "tokenizer.ggml.tokens": ["a", "bc"] * 5_000,
    "llama.context_length": 2048,
    "llama.block_count": 10,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
}


def written(folder: Path, content: bytes) -> Path:
    file = folder / "mine.gguf"
    file.write_bytes(content)
    return file


def test_a_header_is_read(tmp_path: Path) -> None:
    header = read_header(written(tmp_path, gguf(LLAMA)))
    assert (header.architecture, header.license, header.context) == ("llama", "mit", 2048)
    assert header.token_bytes == 2 * 10 * 2 * (16 + 16)  # bytes × layers × heads × (key + value)


def test_the_bundled_models_header() -> None:
    header = read_header(model_file())
    assert (header.context, header.token_bytes, header.license) == (8192, 23_040, "apache-2.0")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be"),
        (b"PK\x03\x04 a zip file", "does not start like a GGUF file"),
        (b"GGUF but not really", "not known"),
        (gguf(LLAMA)[:-100], "it is incomplete"),
        (gguf(LLAMA)[:3_000], "cut off"),
        (gguf(LLAMA, keys=1 << 60), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 8, 1 << 62), "cut off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 63), "cut off"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9,
            "not known",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1 << 40), "array"),
    ],
)
def test_a_file_that_is_none_or_not_whole(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_header(written(tmp_path, content))


def test_a_context_beyond_the_models_is_refused() -> None:
    with pytest.raises(InputError, match="trained for 8,192 tokens"):
        find_model("", {"context": 9000})
    assert find_model("", {"context": 8000}).layout.context == 8000
    assert find_model("", {}).layout.context == 4096


def test_a_model_that_the_memory_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 200 << 20)
    with pytest.raises(InputError, match=r"needs about .* GB of memory .* and 0\.21 GB are free"):
        find_model("", {})
    monkeypatch.setattr(machine, "free_memory", lambda: 2 << 30)
    with pytest.raises(InputError, match=r"30 servers of .* need about"):
        find_model("", {"servers": 30})


def test_more_threads_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    with pytest.raises(InputError, match=r"threads: 3, and this process may use 2 cores"):
        find_model("", {"threads": 3})


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True, None])
def test_options_are_whole_numbers(value: object) -> None:
    config = ProviderConfig(name="local", options={"servers": value})
    with pytest.raises(InputError, match=r"provider\.options\.servers: .* must be a whole number"):
        LocalProvider.from_config(config, {})


def test_all_parts_of_a_split_model_count(tmp_path: Path) -> None:
    whole = gguf(LLAMA)
    for i in (1, 2):
        (tmp_path / f"big-0000{i}-of-00002.gguf").write_bytes(whole)
    first = tmp_path / "big-00001-of-00002.gguf"
    assert find_model(str(first), {}).size == 2 * len(whole)
    (tmp_path / "big-00002-of-00002.gguf").unlink()
    with pytest.raises(InputError, match=r"00002-of-00002\.gguf is missing"):
        find_model(str(first), {})


def test_an_accelerator_is_used_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "accelerator", lambda: "NVIDIA X")
    found = find_model("", {})
    assert found.layout.gpu_layers == -1 and "on NVIDIA X" in str(found)
    assert find_model("", {"gpu_layers": 0}).layout.gpu_layers == 0
    assert "on the CPU" in str(find_model("", {"gpu_layers": 0}))


# -- time ---------------------------------------------------------------------------------------------------------------


def request(characters: int, **params: object) -> Request:
    return Request("m", ({"role": "user", "content": "x" * characters},), {"max_tokens": 80} | params)


def test_the_time_for_a_call_follows_the_measured_speed() -> None:
    speed = Speed(1_100_000_000)
    first = speed.limit(request(8_000))
    assert 120 < first < 1_200
    speed.answered({"prompt_n": 1000, "prompt_ms": 240_000, "predicted_n": 20, "predicted_ms": 6_000})
    slow = speed.limit(request(8_000))
    assert slow > 2_000 * 0.24 * 5  # 2,000 tokens at .24 s, with room to spare
    speed.timed_out()
    assert speed.limit(request(8_000)) == pytest.approx(2 * slow)
    for _ in range(30):
        speed.answered({"prompt_n": 1000, "prompt_ms": 1_000, "predicted_n": 20, "predicted_ms": 100})
    assert speed.limit(request(8_000)) == 120
    for nonsense in (None, "", {"prompt_n": "x"}, {"prompt_n": 0, "prompt_ms": 1}):
        speed.answered(nonsense)


def test_a_model_that_thinks_gets_time_for_its_thoughts() -> None:
    speed = Speed(5_000_000_000)
    thinks = replace(
        request(400), capabilities=Capabilities(reasons=True, reasoning_tokens=4_000.0, thought_room=16_000)
    )
    assert speed.limit(thinks) - speed.limit(request(400)) == pytest.approx(10 * 4_000 * 0.25)


def test_a_recipes_own_timeout_wins() -> None:
    async def ask() -> None:
        provider = LocalProvider.from_config(ProviderConfig(name="local", timeout=0.01, options={"servers": 1}), {})
        try:
            with pytest.raises(CallFailed, match=r"within 0\.01 s"):
                await provider.complete(opinion(PERSONAS[0]))
        finally:
            await provider.aclose()

    asyncio.run(ask())


def test_several_slots_answer_and_keep_their_beginnings() -> None:
    """One server, as for a model that fits into memory once."""

    async def ask() -> None:
        provider = LocalProvider(servers=1, slots=2, context=1024)
        assert provider.concurrency == 2
        items = ["The first item: " + "one " * 60, "The second item: " + "two " * 60]
        try:
            answers = await asyncio.gather(*(provider.complete(opinion(p, item=i)) for i in items for p in PERSONAS))
            assert sum(answer.usage.cached_tokens > 60 for answer in answers) == 4, [a.usage for a in answers]
            with pytest.raises(CallFailed, match=r"context of 1,024 tokens \(provider\.options\.context"):
                await provider.complete(opinion("x", item="word " * 2_000))
        finally:
            await provider.aclose()

    asyncio.run(ask())
