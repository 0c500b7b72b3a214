"""Former names of commands and options. They still work, and print the new name on stderr."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from typer import BadParameter
from typer.core import TyperCommand, TyperGroup

# The former command → the words that take its place.
COMMANDS: dict[str, tuple[str, ...]] = {
    "annotate": ("run", "--no-fit"),
    "fit": ("ratings", "fit"),
    "update": ("ratings", "update"),
    "drift": ("ratings", "drift"),
    "agreement": ("ratings", "agreement"),
    "groups": ("ratings", "groups"),
    "rake": ("panel", "rake"),
    "evaluate": ("eval", "reward"),
    "evaluate-policy": ("eval", "policy"),
    "serve-reward": ("serve",),
}
# The former command that took a name (`dprm labels hh6`), or none to list all → its group, and the action for a name.
LISTS = {"panels": ("panel", "show"), "labels": ("labels", "show"), "models": ("models", "list")}
# The former option → the present one, for the commands that have it.
OPTIONS = {"--out": "--output", "--force": "--overwrite"}

Groups = Mapping[str, Mapping[str, Any]]  # the commands of each group


# What pydantic, by which typer reads values, says of one that cannot be read.
_PYDANTIC = {
    r"Value error, (.*)": r"\1",
    r"Input should be greater than or equal to (.*)": r"must be at least \1",
    r"Input should be less than or equal to (.*)": r"must be at most \1",
    r"Input should be a valid integer.*": "must be a whole number",
    r"Input should be a valid (\w+), unable to.*": r"must be a \1",
    r"Input should be (.*)": r"must be \1",
}


def in_plain_words(message: str) -> str:
    """What is wrong with an option's value; with the choice that may be meant."""
    for pattern, words in _PYDANTIC.items():
        if re.fullmatch(pattern, message, re.DOTALL):
            message = re.sub(f"^{pattern}$", words, message, flags=re.DOTALL)
            break
    value, found, choices = message.partition(" is not one of ")
    near = get_close_matches(value.strip("'"), re.findall(r"'([^']*)'", choices), 1) if found else []
    return f"{message} Did you mean {near[0]!r}?" if near else message


class Commands(TyperGroup):
    """The application's commands, under their present and former names."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        groups = {name: each.commands for name, each in self.commands.items() if isinstance(each, TyperGroup)}
        words = present_words(args, groups)
        name = words[0]
        if name not in self.commands and not name.startswith("-"):
            near = near_commands(name, groups, [each for each in self.commands if each not in groups])
            meant = f" Did you mean {' or '.join(f'dprm {each}' for each in near)}?" if near else ""
            ctx.fail(f"No such command {name!r}.{meant}")
        return super().resolve_command(ctx, words)


class Command(TyperCommand):
    """A command that also takes the former names of its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        renamed = {old: new for old, new in OPTIONS.items() if new in known and old not in known}
        end = args.index("--") if "--" in args else len(args)
        words = [*(_present_option(word, renamed) for word in args[:end]), *args[end:]]
        try:
            return super().parse_args(ctx, words)
        except BadParameter as error:
            error.message = in_plain_words(error.message)
            raise


def present_words(words: list[str], groups: Groups) -> list[str]:
    """A command line's words, the first of them under their present names; says so if they were former ones. A group without an action lists."""
    name, *rest = words
    if name in COMMANDS:
        _say(name, *COMMANDS[name])
        return [*COMMANDS[name], *rest]
    group, action = LISTS.get(name, (name, ""))
    actions = groups.get(group, {})
    if "list" not in actions or {"-h", "--help"} & {*rest}:
        return [group, *rest]
    named = next((word for word in rest if not word.startswith("-")), None)
    if group == name and named and named.isalpha() and get_close_matches(named, actions):
        return words  # an action, perhaps misspelt
    if "check" in actions and "--check" in rest:
        _say(f"{name} --check", group, "check")
        return [group, "check", *(word for word in rest if word != "--check")]
    if named is None:
        if group != name:
            _say(name, group, "list")
        return [group, "list", *rest]
    if not action:
        return words
    _say(f"{name} NAME", group, action, "NAME")
    return [group, action, *rest]


def near_commands(name: str, groups: Groups, others: Sequence[str]) -> list[str]:
    """The present commands whose names, or former names, are close to this one."""
    known: dict[str, list[str]] = {each: [each] for each in [*others, *groups]}
    for group, actions in groups.items():
        for action in actions:
            known.setdefault(action, []).append(f"{group} {action}")
    for old, new in COMMANDS.items():
        known.setdefault(old, []).append(" ".join(new))
    close = get_close_matches(name, known)
    return list(dict.fromkeys(command for each in close for command in known[each]))


def _present_option(word: str, renamed: Mapping[str, str]) -> str:
    old, equals, value = word.partition("=")
    if old not in renamed:
        return word
    _note(f"{old} is now {renamed[old]}")
    return f"{renamed[old]}{equals}{value}"


def _say(old: str, *new: str) -> None:
    _note(f"dprm {old} is now dprm {' '.join(new)}")


def _note(text: str) -> None:
    from dprm_data.terminal.console import print_note

    print_note(text)
