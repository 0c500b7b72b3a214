"""Former names of commands and options. They still work, and print the new name on stderr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

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
        return super().parse_args(ctx, [*(_present_option(word, renamed) for word in args[:end]), *args[end:]])


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
