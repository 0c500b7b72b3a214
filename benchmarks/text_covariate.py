"""What the items' texts are worth beside their votes, on real votes, with shuffled texts as a control.

    python benchmarks/text_covariate.py FOLDER                         # convabuse, chaosnli and polis in FOLDER; writes the table of docs/statistics.md
    python benchmarks/text_covariate.py FOLDER --only polis            # one set, prints only
    python benchmarks/text_covariate.py FOLDER --text encoder:MODEL    # by a sentence encoder (a folder, or a model of the Hub), prints only

Fits use n random votes per item and are scored (ranked probability score x 10^-4) against all others. Differences are means over items, with the standard errors of the paired
differences. Text is read as the recipe's `fit.text` reads it; where raters come back, it is measured beside them too.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from document import write  # noqa: E402
from raters import paired, split  # noqa: E402

from dprm_data.ingest.item_texts import ItemTexts, read_item_texts  # noqa: E402
from dprm_data.ingest.ratings import Ratings  # noqa: E402
from dprm_data.ingest.vote_tables import read_ratings  # noqa: E402
from dprm_data.labels.space import LabelSpace  # noqa: E402
from dprm_data.preference.fitting import Fit, fit  # noqa: E402
from dprm_data.preference.scores import ranked_probability_score  # noqa: E402
from dprm_data.preference.text_features import encoded  # noqa: E402
from dprm_data.recipe.fit_config import SmoothingConfig  # noqa: E402

LEVELS = {"convabuse": 5, "chaosnli": 3, "polis": 3}
NAMED = {"convabuse", "polis"}  # sets whose raters have ids
SIZES = (1, 3)
RAW = SmoothingConfig(kind="none")


def texts_of(path: Path, train: Ratings, how: str, whole: dict[str, np.ndarray]) -> ItemTexts:
    """The texts of these items, or their embeddings, from `whole`, which keeps them by item."""
    found = read_item_texts(path, train.item_ids, how)
    assert found is not None
    if not how.startswith("encoder:"):
        return found
    new = [i for i, item in enumerate(train.item_ids) if item not in whole]
    vectors = [encoded([texts[i] for i in new], how.removeprefix("encoder:")) for texts in found.varied().values()]
    whole.update(zip([train.item_ids[i] for i in new], np.hstack(vectors), strict=True))
    return replace(found, embeddings=np.stack([whole[item] for item in train.item_ids]))


def shuffled(texts: ItemTexts, rng: np.random.Generator) -> ItemTexts:
    """The same texts, each with another item. Prompts stay with their texts."""
    order = rng.permutation(len(texts))
    return ItemTexts(
        {name: [each[i] for i in order] for name, each in texts.fields.items()},
        None if texts.groups is None else [texts.groups[i] for i in order],
        None if texts.embeddings is None else texts.embeddings[order],
    )


def rows(folder: Path, name: str, how: str, splits: int) -> list[str]:
    space, path = LabelSpace.ordinal(LEVELS[name]), folder / f"{name}.parquet"
    whole, embedded = read_ratings(path, space, base=0), dict[str, np.ndarray]()
    place, N, lines = {item: i for i, item in enumerate(whole.item_ids)}, len(whole.item_ids), []
    for n in SIZES:
        kinds = ["beta", "text", "control"] + (["raters", "both"] if name in NAMED else [])
        sums, seen = {kind: np.zeros(N) for kind in kinds}, np.zeros(N)
        worth, controls = [], 0
        for seed in range(splits):
            rng = np.random.default_rng([seed, n])
            train, held = split(whole, n, rng)
            at, against = np.array([place[item] for item in train.item_ids]), held.votes().counts
            texts = texts_of(path, train, how, embedded)
            way = "column:embedding" if texts.embeddings is not None else "tfidf"
            fits: dict[str, Fit] = {
                "beta": fit(train.votes(), space, smoothing=RAW),
                "text": fit(train.votes(), space, smoothing=RAW, text=way, texts=texts),
                "control": fit(train.votes(), space, smoothing=RAW, text=way, texts=shuffled(texts, rng)),
            }
            if name in NAMED:
                fits["raters"] = fit(train, space, smoothing=RAW)
                fits["both"] = fit(train, space, smoothing=RAW, text=way, texts=texts)
            for kind, found in fits.items():
                sums[kind][at] += 1e4 * ranked_probability_score(found.posterior, against)
            seen[at] += 1
            worth.append(fits["text"].texts.worth if fits["text"].texts else 0.0)
            controls += fits["control"].texts is not None
        there = seen > 0
        mean = {kind: total[there] / seen[there] for kind, total in sums.items()}
        cells = [name, n, int(there.sum()), f"{mean['beta'].mean():.1f}", paired(mean["text"] - mean["beta"])]
        cells += [f"{np.mean(worth):.2f}", f"{sum(w > 0 for w in worth)} of {splits}"]
        if name in NAMED:
            cells += [f"{mean['raters'].mean():.1f}", paired(mean["both"] - mean["raters"])]
        else:
            cells += ["–", "–"]
        lines.append(
            "| "
            + " | ".join(map(str, [*cells, f"{paired(mean['control'] - mean['beta'])}", f"{controls} of {splits}"]))
            + " |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the sets are")
    parser.add_argument("--only", choices=list(LEVELS), help="one set; prints only")
    parser.add_argument("--text", default="tfidf", help="tfidf, or encoder:MODEL; prints only")
    parser.add_argument("--splits", type=int, default=3)
    options = parser.parse_args()
    lines = [
        "| set | n | items | beta | with text: difference (s.e.) | worth, votes an item | in the model | with raters | text beside raters: difference (s.e.) | shuffled texts: difference (s.e.) | in the model |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in LEVELS:
        if options.only in (None, name):
            lines += rows(options.folder, name, options.text, options.splits)
    if not options.only and options.text == "tfidf":
        write({"text": lines})


if __name__ == "__main__":
    main()
