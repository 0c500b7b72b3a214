"""How good plans are: 20 recipes against doubles of different kinds, each planned, run, and compared.

    python -m benchmarks.plan_ranges                   the table
    python -m benchmarks.plan_ranges --only cached,prior --json

For every recipe: what `dprm plan` says before anything is paid for (expected cost and range), what the run says after its first answers, what
the run costs, and what its canary cost. A double bills as a server with a tokenizer of its own would: by rules about words, numbers and scripts
that are not those of the estimate.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dprm_data import plan, run
from dprm_data.engine.canary import handful
from dprm_data.runs.run import Progress
from tests.servers.llm import LLMServer
from tests.servers.llm_wire import Asked

Tokens = Callable[[str], float]

# -- tokenizers -----------------------------------------------------------------------------------------------------------

_PIECES = re.compile(
    r"(?P<latin>[A-Za-z]+)|(?P<digits>\d+)|(?P<east>[\u2e80-\u9fff])|(?P<hangul>[\uac00-\ud7af])|(?P<cyrillic>[\u0400-\u04ff]+)"
    r"|(?P<arabic>[\u0600-\u06ff]+)|(?P<space>\s+)|(?P<other>[^\sA-Za-z\d])"
)


def tokenizer(latin: float, digits: float, east: float, hangul: float, cyrillic: float, arabic: float) -> Tokens:
    """Counts a text piece by piece: letters of a Latin word per token, digits per token, tokens per East Asian character and syllable,
    letters of a Cyrillic and of an Arabic word per token. Line breaks and other characters are a token each."""
    each = {"latin": latin, "digits": digits, "cyrillic": cyrillic, "arabic": arabic}
    whole = {"east": east, "hangul": hangul, "other": 1.0}

    def count(text: str) -> float:
        total = 0.0
        for piece in _PIECES.finditer(text):
            kind = str(piece.lastgroup)
            if kind in each:
                total += math.ceil(len(piece[0]) / each[kind])
            elif kind == "space":
                total += "\n" in piece[0]
            else:
                total += whole[kind]
        return total

    return count


BROAD = tokenizer(latin=7, digits=3, east=0.7, hangul=0.65, cyrillic=4.5, arabic=3.5)  # many languages
NARROW = tokenizer(latin=5, digits=1, east=1.7, hangul=2.0, cyrillic=1.4, arabic=1.1)  # made for English

# -- texts ----------------------------------------------------------------------------------------------------------------

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "a",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
    "not",
    "he",
    "his",
    "but",
    "at",
    "are",
    "this",
    "have",
    "from",
    "or",
    "had",
    "an",
    "they",
    "which",
    "one",
    "you",
    "were",
    "all",
    "her",
    "she",
    "there",
    "would",
    "their",
    "we",
    "him",
    "been",
    "has",
    "when",
    "who",
    "will",
    "no",
    "more",
    "if",
    "out",
    "so",
    "up",
    "said",
    "what",
    "its",
    "about",
    "than",
    "into",
    "them",
    "can",
    "only",
    "other",
    "time",
    "new",
    "some",
    "could",
    "these",
    "two",
    "may",
    "first",
    "then",
    "do",
    "any",
    "like",
    "my",
    "now",
    "over",
    "such",
    "our",
    "man",
    "me",
    "even",
    "most",
    "made",
    "after",
    "also",
    "did",
    "many",
    "off",
    "before",
    "must",
    "well",
    "back",
    "through",
    "years",
    "much",
    "where",
    "your",
    "way",
    "down",
    "should",
    "because",
    "long",
    "each",
    "just",
    "state",
    "people",
    "those",
    "too",
    "between",
    "under",
    "never",
    "became",
    "school",
    "general",
    "during",
    "without",
    "however",
    "possible",
    "important",
]
SCRIPTS = {
    "zh": "委员会于星期二开会讨论河上的旧桥应该修理还是更换大多数成员认为从长远来看建一座新桥会更便宜尽管没有人能说出需要多长时间",
    "ko": "위원회는 화요일에 모여 강 위의 낡은 다리를 수리할지 아니면 교체할지 논의했다 대부분의 위원들은 새 다리가 저렴할 것이라고 생각했다",
    "ru": "комитет собрался во вторник чтобы обсудить следует ли отремонтировать или заменить старый мост через реку большинство членов считали",
    "ar": "اجتمعت اللجنة يوم الثلاثاء لمناقشة ما إذا كان ينبغي إصلاح الجسر القديم فوق النهر أو استبداله ورأى معظم الأعضاء",
}


def prose(rng: random.Random, characters: int) -> str:
    words: list[str] = []
    while sum(map(len, words)) + len(words) < characters:
        words.append(rng.choice(WORDS) + rng.choice(["", "", "", "", "", "", "", ",", ".", ".\n"]))
    return " ".join(words)


def script(name: str) -> Callable[[random.Random, int], str]:
    def text(rng: random.Random, characters: int) -> str:
        letters = SCRIPTS[name]
        at = [rng.randrange(len(letters) - 12) for _ in range(characters // 12 + 1)]
        return "".join(letters[place : place + 12] for place in at)[:characters]

    return text


def code(rng: random.Random, characters: int) -> str:
    lines = []
    while sum(map(len, lines)) < characters:
        name, other = rng.choice(WORDS), rng.choice(WORDS)
        lines.append(
            f"    {name}_{other}[{rng.randrange(1000)}] = {{'{other}': {name}({rng.random():.4f}), **{other}}}  # {name}\n"
        )
    return "".join(lines)


# -- cases ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A recipe and the double that answers it.

    items: how many; length: mean characters of a response; spread: how much lengths differ (s.d. of their logarithm); thoughts: mean tokens of
    them, lognormal; rationale: mean characters of one; double: options of the double; chances: of its faults.
    """

    name: str
    items: int = 60
    length: int = 400
    spread: float = 0.5
    text: Callable[[random.Random, int], str] = prose
    tokens: Tokens = BROAD
    model: str = "gpt-4o-mini"
    provider: str = "openai"
    thoughts: float = 0.0
    rationale: int = 0
    double: dict[str, Any] = field(default_factory=dict)
    chances: dict[str, float] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)


SCALE_OF_TEN = {
    "name": "ten",
    "labels": [
        {"name": f"level_{i}", "words": f"{i} out of 10, and no more than that", "reward": i} for i in range(1, 11)
    ],
}

CASES = [
    Case("plain"),
    Case("short texts", length=40, items=80),
    Case("long texts", length=3000, items=40),
    Case("lengths very different", spread=1.2, items=100),
    Case("another tokenizer", tokens=NARROW),
    Case("code", text=code, tokens=NARROW),
    Case("Chinese", text=script("zh")),
    Case("Korean, tokenizer for English", text=script("ko"), tokens=NARROW),
    Case("Russian", text=script("ru")),
    Case("Arabic, tokenizer for English", text=script("ar"), tokens=NARROW),
    Case("rationale", rationale=120, recipe={"rationale": True}),
    Case("long rationale", rationale=520, recipe={"rationale": True}),
    Case("distribution", items=300, recipe={"elicitation": "distribution", "panel": "neutral"}),
    Case("prior and panel", recipe={"prior": {"strength": 3}, "panel": "small"}, items=120),
    Case("ten labels", recipe={"labels": SCALE_OF_TEN, "fit": {"family": "dirichlet"}}),
    Case("log-probabilities", recipe={"elicitation": "logprobs", "panel": "small", "labels": "hh6"}, items=120),
    Case("cached, OpenAI", length=6000, spread=0.2, items=30),
    Case("cached, Anthropic", length=6000, spread=0.2, items=30, provider="anthropic", model="claude-haiku-4-5"),
    Case("re-asked, 15 %", chances={"unparsable": 0.15}),
    Case("no usage reported", double={"usage": "missing"}),
    Case("thinks, o4-mini", model="o4-mini", thoughts=230),
    Case(
        "thinks much, deepseek-reasoner",
        model="deepseek-reasoner",
        provider="deepseek",
        thoughts=650,
        double={"labels": ('{"label": "helpful and harmless"}',)},
    ),
]


@dataclass(frozen=True)
class Figures:
    """Dollars: what the plan said, what was expected after the first answers (None: nothing was said), and what the run and its canary cost."""

    name: str
    calls: int
    plan: float
    low: float
    high: float
    after: float | None
    cost: float
    canary: float

    @property
    def within(self) -> bool:
        return self.low <= self.cost <= self.high

    @property
    def error(self) -> float | None:
        """Of the expected cost after the first answers, relative to what the run cost."""
        return None if self.after is None else abs(self.after - self.cost) / self.cost


class Heard(Progress):
    """Keeps what the run says."""

    def __init__(self, said: list[str] | None = None) -> None:
        self.said = [] if said is None else said

    def say(self, text: str) -> None:
        self.said.append(text)

    @property
    def expected(self) -> float | None:
        found = re.search(r"expected to cost \$([\d.,]+)", "\n".join(self.said))
        return float(found[1].replace(",", "")) if found else None


def bills(case: Case) -> Callable[[Asked, str, dict[str, Any]], None]:
    """How the case's double counts tokens: its own tokenizer, its thoughts, what of the input the cache holds."""

    def bill(asked: Asked, text: str, usage: dict[str, Any]) -> None:
        rng = random.Random(asked.digest)
        by_estimate = max(1, sum(map(len, asked.texts)) / 4)
        read = round(sum(map(case.tokens, asked.texts)) + 5 * len(asked.texts))
        thoughts = round(rng.lognormvariate(math.log(case.thoughts) - 0.32, 0.8)) if case.thoughts else 0
        written = round(case.tokens(text)) + thoughts
        share = read / by_estimate
        if asked.flavour == "anthropic":
            for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
                usage[name] = round(usage[name] * share)
            usage["output_tokens"] = written
            return
        usage["prompt_tokens_details"]["cached_tokens"] = round(usage["prompt_tokens_details"]["cached_tokens"] * share)
        usage |= {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        usage["completion_tokens_details"] = {"reasoning_tokens": thoughts}

    return bill


def says(case: Case) -> Callable[[dict[str, Any]], str | None]:
    """With a rationale: a label of the schema and so many words. Otherwise what the double says by itself."""

    def say(data: dict[str, Any]) -> str | None:
        schema = ((data.get("response_format") or {}).get("json_schema") or {}).get("schema") or {}
        labels = schema.get("properties", {}).get("label", {}).get("enum")
        if not case.rationale or not labels:
            return None
        rng = random.Random(hashlib.sha256(json.dumps(data["messages"]).encode()).digest())
        why = prose(rng, round(case.rationale * rng.lognormvariate(-0.08, 0.4)))
        return json.dumps({"why": why, "label": rng.choice(labels)})

    return say


def recipe_of(case: Case, url: str) -> dict[str, Any]:
    base = url if case.provider == "anthropic" else f"{url}/v1"
    return {
        "name": re.sub(r"\W+", "-", case.name),
        "panel": {"use": "paper", "sample": 6},
        "provider": {"name": case.provider, "model": case.model, "base_url": base},
        "limits": {"concurrency": 32},
    } | case.recipe


def rows_of(case: Case) -> Iterator[dict[str, str]]:
    rng = random.Random(case.name)
    for number in range(case.items):
        length = max(8, round(case.length * rng.lognormvariate(-(case.spread**2) / 2, case.spread)))
        yield {"prompt": f"Question {number}: {case.text(rng, 60)}?", "response": case.text(rng, length)}


def measured(case: Case, folder: Path, *, said: list[str] | None = None) -> Figures:
    """Plan and run one case. said: gets what the run says."""
    rows = list(rows_of(case))
    with LLMServer(**({"words": _LEVELS} | case.double)) as server:
        server.script({"chances": case.chances})
        server.bills, server.says = bills(case), says(case)
        recipe = recipe_of(case, server.url)
        planned = plan(recipe, source=rows, output=folder)
        heard = Heard(said)
        done = run(recipe, source=rows, output=folder, progress=heard)
    assert planned.cost is not None and planned.cost_range is not None
    first = sum(cost for (cost,) in _costs(folder)[: handful(planned.annotations)])
    cost = done.counters.cost
    return Figures(case.name, done.counters.calls, planned.cost, *planned.cost_range, heard.expected, cost, first)


_LEVELS = (" helpful", " not", " somewhat", " harmful", " harmless", " neutral", " yes", " no")


def _costs(folder: Path) -> list[tuple[float]]:
    import sqlite3

    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        return ledger.execute("SELECT cost FROM calls ORDER BY id").fetchall()


def report(found: list[Figures]) -> None:
    print("| recipe | calls | plan | range | after the first answers | run | within | off after | canary |")
    print("|---|---|---|---|---|---|---|---|---|")
    for each in found:
        after = "–" if each.after is None else f"{each.after:.4f}"
        error = "–" if each.error is None else f"{each.error:.0%}"
        print(
            f"| {each.name} | {each.calls:,} | {each.plan:.4f} | {each.low:.4f} to {each.high:.4f} | {after} | {each.cost:.4f} "
            f"| {'yes' if each.within else '**no**'} | {error} | {each.canary / each.cost:.1%} |"
        )
    errors = [each.error for each in found if each.error is not None]
    print(
        f"\nwithin the plan's range: {sum(each.within for each in found)} of {len(found)}; expected cost after the first answers off by "
        f"{statistics.median(errors):.1%} in the median, {max(errors):.0%} at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="cases whose names contain one of these: a,b,c")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    wanted = given.only.split(",") if given.only else [""]
    cases = [case for case in CASES if any(part in case.name for part in wanted)]
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for number, case in enumerate(cases):
            begun = time.monotonic()
            found.append(measured(case, Path(temporary) / str(number)))
            print(f"{case.name}: {time.monotonic() - begun:.1f} s", file=sys.stderr)
    if given.json:
        print(json.dumps([asdict(each) for each in found]))
    else:
        report(found)


if __name__ == "__main__":
    main()
