"""How a local model is spread over cores and memory: a pure function, and what it is told of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from dprm_data.providers import machine
from dprm_data.providers.layout import Layout, layout, memory_needed

GB = 1 << 30
SMALL, MIDDLE, LARGE = 98 << 20, round(1.1 * GB), round(4.7 * GB)


@pytest.mark.parametrize(
    ("model", "free", "cores", "expected"),
    [
        (SMALL, 16 * GB, 1, Layout(1, threads=1, slots=1, context=4096)),
        (SMALL, 16 * GB, 2, Layout(2, threads=1, slots=1, context=4096)),
        (SMALL, 16 * GB, 4, Layout(4, threads=1, slots=1, context=4096)),
        (SMALL, 64 * GB, 32, Layout(16, threads=1, slots=1, context=4096)),
        (SMALL, None, 4, Layout(4, threads=1, slots=1, context=4096)),
        (MIDDLE, 16 * GB, 2, Layout(2, threads=1, slots=1, context=4096)),
        (MIDDLE, 2 * GB, 2, Layout(1, threads=2, slots=2, context=4096)),
        (LARGE, 8 * GB, 8, Layout(1, threads=8, slots=4, context=4096)),
        (LARGE, 32 * GB, 16, Layout(4, threads=4, slots=1, context=4096)),
        (LARGE, 8 * GB, 1, Layout(1, threads=1, slots=1, context=4096)),
        (LARGE, 2 * GB, 4, Layout(1, threads=4, slots=1, context=4096)),  # too little, which loading refuses
    ],
)
def test_cores_and_memory_are_used(model: int, free: int | None, cores: int, expected: Layout) -> None:
    assert layout(model, free, cores, 4096, token_bytes=28_672) == expected


def test_an_accelerator_gets_all_layers_of_one_server() -> None:
    planned = layout(LARGE, 32 * GB, 16, 4096, 131_072, gpu=True)
    assert (planned.servers, planned.slots, planned.gpu_layers) == (1, 4, -1)


@pytest.mark.parametrize("cores", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("free", [1, 4, 24, 256])
def test_no_layout_takes_more_than_there_is(cores: int, free: int) -> None:
    for model in (SMALL, MIDDLE, LARGE):
        planned = layout(model, free * GB, cores, 8192, 131_072)
        assert planned.servers * planned.threads <= cores
        alone = memory_needed(Layout(1, 1, 1, 8192), model, 131_072)
        assert memory_needed(planned, model, 131_072) <= max(alone, free * GB)


def test_a_containers_limits_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    whole, free = machine.cores(), machine.free_memory()
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 400000\ninactive_file 100000\n")
    assert machine.free_memory() == 400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free is None or machine.free_memory() > 400_000  # type: ignore[operator]
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine.cores() == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.cores() == whole
