"""A terminal shows texts, and never obeys them: all commands, with hostile texts in every place that a stranger fills."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

from dprm_data.cli import main
from dprm_data.core.text import json_line, visible
from tests.helpers import environ, write_recipe, write_rows
from tests.servers.llm import LLMServer

# Each line does something: clears the screen, sets the title, makes a link, turns the text around, hides, is half a surrogate pair's neighbour, is Rich's markup.
EVIL = (
    "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://evil.example\x1b\\x \x9b2J \u202egnp.exe\u2069\u2066 a\u200bb\u200dc \u2060\ufeff\x7f\x08\x0b "
    "\U000e0041 [/INST] [/b] [bold red]x[/] [link=http://evil.example]y[/link] :smile:"
)
HONEST = [
    "می‌خواهم",
    "שלום עולם",
    "مرحبا",
    "👩‍👩‍👧 🏳️‍🌈 👍🏽 ❤️ 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "क्‍ष",
    "ខ្ញុំ\u200bទៅ",
    "漢字　かな",
    "naïve",
]
PERSONA = "p1"
# Servers that do not answer: nothing leaves this machine.
NOWHERE = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_test", "ARGILLA_API_URL": "http://127.0.0.1:9", "ARGILLA_API_KEY": "k"}  # fmt: skip
SPACE = {
    "name": f"space {EVIL}",
    "description": EVIL,
    "axes": [{"name": f"axis {EVIL}", "levels": [{"name": f"low {EVIL}"}, {"name": f"high {EVIL}"}]}],
    "labels": [
        {"name": f"{level} {EVIL}", "words": f"{level} words {EVIL}", "description": EVIL, "reward": reward, "levels": {f"axis {EVIL}": f"{level} {EVIL}"}}
        for reward, level in enumerate(("low", "high"))
    ],
}  # fmt: skip
PANEL = {
    "name": f"panel {EVIL}",
    "description": EVIL,
    "source": EVIL,
    "personas": [
        {"id": f"p{i}", "name": f"{i} {EVIL}", "description": f"You are {i}. {EVIL}", "attributes": {f"sex {EVIL}": f"{'fm'[i % 2]} {EVIL}", "sex": f"{'fm'[i % 2]} {EVIL}"}}
        for i in range(4)
    ],
}  # fmt: skip

COMMANDS: list[list[str]] = [
    ["plan", "recipe.yaml"],
    ["show", "run"],
    ["show", "run", "--item", ""],
    ["show", "run", "--item", "ITEM"],
    ["show", "run", "--item", EVIL],
    ["show", "run", "--persona", PERSONA],
    ["show", "run", "--persona", EVIL],
    ["show", "run", "--personas"],
    ["ratings", "fit", "run"],
    ["ratings", "fit", "run", "--family", EVIL],
    ["panel", "show", "panel.yaml"],
    ["panel", "show", EVIL],
    ["labels", "show", "space.yaml"],
    ["labels", "show", EVIL],
    ["ratings", "agreement", "run"],
    ["ratings", "groups", "run", "--by", "sex"],
    ["ratings", "groups", "run", "--by", EVIL],
    ["ratings", "update", "run", "votes.csv", "--output", "updated.parquet"],
    ["ratings", "drift", "run", "votes.csv"],
    ["ratings", "fit", "votes.csv", "--labels", "space.yaml", "--output", f"{EVIL.replace('/', '')}.parquet"],
    ["ratings", "fit", "bad.csv", "--labels", "space.yaml", "--output", "fit.parquet"],
    ["ratings", "agreement", "votes.csv", "--labels", "space.yaml"],
    ["panel", "rake", "panel.yaml", "--margins", "margins.yaml", "--output", "raked.yaml"],
    ["report", "run", "--output", f"{EVIL.replace('/', '')}.html"],
    ["review", "export", "run", "review.csv"],
    ["review", "import", "run", "answers.csv"],
    ["review", "compare", "run"],
    ["review", "calibrate", "run"],
    ["ledger", "stats", "run"],
    ["ledger", "check", "run"],
    ["ledger", "copy", "run", f"{EVIL.replace('/', '')}.sqlite"],
    ["ledger", "export", "run", f"{EVIL.replace('/', '')}.jsonl"],
    ["trust", "recipe.yaml", "--yes"],
    ["publish", "run", "--repo", "somebody/data", "--dry-run"],
    ["publish", "run", "--repo", EVIL, "--dry-run"],
    ["publish", "run", "--repo", "somebody/data", "--dry-run", "--public", "--license", EVIL],
    ["pull", EVIL, "pulled"],
    ["review", "push", "run", "--workspace", EVIL, "--dataset", EVIL],
    ["review", "pull", "run", "--workspace", EVIL, "--dataset", EVIL],
    ["train", "reward", "--data", EVIL],
    ["train", "reward", "--data", "run", "--set", EVIL],
    ["train", "ppo", "--prompts", EVIL, "--policy", EVIL],
    ["eval", "reward", "--reward-model", EVIL, "--data", "run"],
    ["eval", "policy", "--policy", EVIL, "--prompts", "run"],
    ["serve", "--reward-model", EVIL],
    ["show", EVIL],
    [EVIL],
    ["show", "run", f"--{EVIL}"],
    ["init", EVIL.replace("/", "")],
]

# Processes are slow: one command for each way of printing.
ON_A_TERMINAL = [
    ["show", "run"],
    ["show", "run", "--item", "ITEM"],
    ["show", "run", "--persona", PERSONA],
    ["ratings", "fit", "run"],
    ["panel", "show", "panel.yaml"],
    ["labels", "show", "space.yaml"],
    ["show", EVIL],
    ["show", "run", f"--{EVIL}"],
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which everything that strangers fill is hostile: texts, personas, labels, rationales, names of files and models, servers' errors."""
    folder = tmp_path_factory.mktemp("terminal")
    rows = [
        {"prompt": f"Question {i // 2} {EVIL}", "response": f"Answer {i} {EVIL}", f"column {EVIL}": EVIL}
        for i in range(8)
    ]
    write_rows(
        folder / "pairs.jsonl",
        [
            *rows,
            {"prompt": f"bad {EVIL}", "response": ""},
            {"prompt": [{"role": EVIL, "content": EVIL}], "response": "x"},
        ],
    )
    (folder / "panel.yaml").write_text(yaml.safe_dump(PANEL))
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    (folder / "margins.yaml").write_text(yaml.safe_dump({"sex": {f"f {EVIL}": 0.6, f"m {EVIL}": 0.4}}))
    label = f"low {EVIL}"
    (folder / "bad.csv").write_text(f'item_id,annotator_id,label\n"{EVIL}","{EVIL}","{EVIL}"\n')
    recipe = write_recipe(folder, labels="space.yaml", panel="panel.yaml", rationale=True)

    def says(data: dict[str, Any]) -> str | None:
        text = json.dumps(data["messages"])
        if "You are 3" in text:
            return f"no label at all {EVIL}"
        name = f"{'high' if hash(text) % 2 else 'low'} words {EVIL}"
        return json.dumps({"label": name, "why": f"why {EVIL}"})

    with LLMServer() as server:
        server.says = says
        content = yaml.safe_load(recipe.read_text())
        content["provider"] = {"name": "openai", "model": f"model {EVIL}", "base_url": f"{server.url}/v1"}
        content["budget"] = {"allow_unknown_price": True}
        recipe.write_text(yaml.safe_dump(content))
        done = run_plain(["run", "recipe.yaml"], folder)
    assert done.returncode == 0, done.stderr
    check(done.stdout + done.stderr)
    import pyarrow.parquet as pq

    annotations = pq.read_table(folder / "run" / "tables" / "annotations.parquet")
    assert any("why" in (why or "") for why in annotations["rationale"].to_pylist())
    ids = pq.read_table(folder / "run" / "tables" / "items.parquet")["item_id"].to_pylist()
    (folder / "item").write_text(ids[0])
    lines = [f'{item},"{who} {EVIL}","{label}"' for item in ids for who in ("ann", "bob", "cid")]
    (folder / "votes.csv").write_text("\n".join(["item_id,annotator_id,label", *lines]) + "\n")
    (folder / "answers.csv").write_text("\n".join(["item_id,annotator,label", *lines]) + "\n")
    return folder


def run_plain(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    """The command in this process, its stdout and stderr being no terminal."""
    arguments = [(folder / "item").read_text() if word == "ITEM" else word for word in arguments]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["dprm", *arguments])
        for name, value in {"NO_COLOR": "1", "COLUMNS": "120", "OPENAI_API_KEY": "sk-test", **NOWHERE}.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            main()
        out.flush(), err.flush()
    code = end.value.code or 0
    return subprocess.CompletedProcess(arguments, code, out.buffer.getvalue(), err.buffer.getvalue())  # type: ignore[attr-defined]


def run_on_terminal(arguments: list[str], folder: Path) -> bytes:
    """What the command writes on a terminal."""
    arguments = [(folder / "item").read_text() if word == "ITEM" else word for word in arguments]
    environment = environ(OPENAI_API_KEY="sk-test", TERM="xterm-256color", COLORTERM="truecolor")
    del environment["NO_COLOR"]
    ours, side = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "dprm_data.cli", *arguments], cwd=folder, env=environment, stdout=side, stderr=side, stdin=side)  # fmt: skip
    os.close(side)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    process.wait(60)
    return seen.replace(b"\r\n", b"\n")


def check(out: bytes, command: object = "") -> None:
    """No byte of it is obeyed by a terminal, and nothing hides."""
    text = out.decode()
    found = {
        hex(ord(c)) for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    }
    assert not found, (command, found, text[-3000:])
    assert "Traceback" not in text


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def test_no_command_sends_a_texts_control_characters(folder: Path) -> None:
    for arguments in COMMANDS:
        done = run_plain(arguments, folder)
        check(done.stdout + done.stderr, arguments)


@pytest.mark.slow
def test_no_command_sends_them_in_json(folder: Path) -> None:
    answered = 0
    for arguments in COMMANDS[:-4]:
        done = run_plain([*arguments, "--json"], folder)
        check(done.stdout + done.stderr, arguments)
        if done.returncode == 0:
            json.loads(done.stdout)
            answered += 1
    assert answered > 18


OURS = re.compile(r"\x1b\[[\d;]*m|\x1b\[\?25[lh]|\x1b\[1A|\x1b\[2K|\r")  # colours, and a live line


@pytest.mark.slow
def test_on_a_terminal_only_our_own_sequences_are_sent(folder: Path) -> None:
    for arguments in ON_A_TERMINAL:
        seen = run_on_terminal(arguments, folder).decode()
        check(OURS.sub("", seen).encode(), arguments)


def test_markup_is_text(folder: Path) -> None:
    shown = run_plain(["show", "run", "--persona", PERSONA], folder).stdout.decode()
    assert all(
        part in " ".join(shown.split())
        for part in ("[/INST] [/b] [bold red]x[/]", "[link=http://evil.example]y[/link] :smile:")
    )


@pytest.mark.parametrize("text", HONEST)
def test_honest_texts_stay_as_they_are(text: str, tmp_path: Path) -> None:
    assert visible(text) == text
    panel = {"name": "honest", "personas": [{"id": "a", "description": text}]}
    (tmp_path / "panel.yaml").write_text(yaml.safe_dump(panel, allow_unicode=True))
    assert text in run_plain(["panel", "show", "panel.yaml", "--json"], tmp_path).stdout.decode()
    assert text in run_plain(["panel", "show", "panel.yaml"], tmp_path).stdout.decode()


@pytest.mark.parametrize(
    "text",
    [
        "a\u200db",
        "\u200d",
        "x\u200b",
        "e\ufe0f\ufe0f",
        "\u3164",
        "\U000e0041",
        "🏴\U000e0041",
        "👍\u200d\u200d",
        "\ufeff",
        "\u00ad",
    ],
)
def test_what_hides_is_made_visible(text: str) -> None:
    assert "\N{REPLACEMENT CHARACTER}" in visible(text)


def test_json_keeps_every_character() -> None:
    content = {"a": EVIL + "".join(HONEST) + "\ud800\n"}
    assert json.loads(json_line(content)) == content


def test_a_servers_message_is_shown_while_waiting(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    with LLMServer() as server:
        content = yaml.safe_load(recipe.read_text())
        content["provider"] = {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{server.url}/v1"}
        recipe.write_text(yaml.safe_dump(content))
        server.says = lambda data: f"what is this {EVIL}"
        done = run_plain(["run", "recipe.yaml"], tmp_path)
    check(done.stdout + done.stderr)
