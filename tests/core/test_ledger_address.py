"""A ledger's address: read once, written as it was read, shown without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from dprm_data.core.errors import InputError, RecipeError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder

parse = LedgerAddress.parse
SECRETIVE = "postgresql://me:${NAME}@host:5432/db?sslmode=verify-full"


def recipe(ledger: object) -> Recipe:
    return Recipe.of({"provider": {"name": "openai", "model": "m"}, "ledger": ledger})


def test_a_path_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = parse("folder/l.sqlite")
    assert (relative.scheme, relative.path, relative.shared) == ("sqlite", Path("folder/l.sqlite"), False)
    assert relative == parse(Path("folder/l.sqlite")) == parse("./folder/l.sqlite")
    assert relative.absolute() == parse(tmp_path / "folder/l.sqlite") != relative
    with pytest.raises(InputError, match="named by its path"):
        parse("sqlite:///folder/l.sqlite")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_is_shared(scheme: str) -> None:
    address = parse(f"{scheme}://me@host/db?connect_timeout=3")
    assert address.shared and address.absolute() == address
    assert (address.shown, address.password()) == (f"{scheme}://me@host/db", None)


def test_a_password_stays_in_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    address = parse(SECRETIVE)
    assert address.shown == "postgresql://me@host:5432/db"
    assert address.url == "postgresql://me@host:5432/db?sslmode=verify-full"
    monkeypatch.delenv("NAME", raising=False)
    with pytest.raises(InputError, match="NAME is not set"):
        address.password()
    monkeypatch.setenv("NAME", "s3cret")
    assert address.password() == "s3cret" and "s3cret" not in repr(address)


def test_a_recipe_keeps_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text, frozen in ((SECRETIVE, SECRETIVE), ("l.sqlite", str(tmp_path / "l.sqlite"))):
        read = recipe(text)
        assert read.model_dump(mode="json")["ledger"] == text
        folder = RunFolder(tmp_path / "run")
        assert folder.ledger_at(read) == parse(text)
        folder.freeze(read, labels={}, panel={}, prompts={"choice": "x"})
        assert f"\nledger: {frozen}\n" in folder.recipe_file.read_text()
    for nothing in (None, ""):
        assert recipe(nothing).ledger is None and not recipe(nothing).shares_ledger
        assert folder.ledger_at(recipe(nothing)) == parse(tmp_path / "run/ledger.sqlite")


@pytest.mark.parametrize(
    ("text", "message"),
    [(5, "must be a text"), ("mysql://h/d", "no ledger store 'mysql'"), ("postgres://a:b@h/d", "password")],
)
def test_a_recipe_says_what_is_wrong(text: object, message: str) -> None:
    with pytest.raises(RecipeError, match=f"ledger: .*{message}"):
        recipe(text)
