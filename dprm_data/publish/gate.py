"""The gate before publishing: names and metadata that the Hub accepts, and what must be stated before anything is public."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dprm_data.core.errors import PublishError
from dprm_data.core.extras import extra
from dprm_data.core.text import did_you_mean

if TYPE_CHECKING:
    from dprm_data.recipe.recipe import PublishConfig

# https://huggingface.co/docs/hub/repositories-licenses
_LICENSES_WORDS = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc
    cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0
    cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c
    ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa
    unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1
    llama3.2 llama3.3 llama4 grok2-community gemma unknown other
"""
LICENSES = frozenset(_LICENSES_WORDS.split())
_ISO_639_1_WORDS = """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el
    en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu
    ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na
    nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn
    so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_ISO_639_1 = frozenset(_ISO_639_1_WORDS.split())
_NOT_IN_TAGS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-./]|[./]$|\.lock(?:/|$)|/\.|^@$")


def check_repo_name(repo: str) -> None:
    """Refuse a name that the Hub refuses. Raises `PublishError`."""
    with extra("hub", what="the Hugging Face Hub"):
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
        if repo.count("/") == 1 and len(repo) <= 96:
            return
    except HFValidationError:
        pass
    raise PublishError(
        f"{repo!r} is not the name of a dataset repository",
        hint="Give owner/name, such as my-org/my-preferences: letters, digits, -, _ and . (neither -- nor .., no - or . at an end, no .git), "
        "96 characters at most.",
    )


def check_tag(tag: str | None) -> None:
    """Refuse a tag that is no name in git. Raises `PublishError`."""
    if tag is not None and (not tag or len(tag) > 200 or _NOT_IN_TAGS.search(tag)):
        raise PublishError(
            f"{tag!r} cannot be a tag", hint="Give a name such as v2 or camera-ready: without spaces, .. and ~^:?*[\\."
        )


def check_metadata(publish: PublishConfig) -> None:
    """Refuse a licence or language that the Hub refuses in a card. Raises `PublishError`."""
    if publish.license and publish.license not in LICENSES:
        raise PublishError(
            f"the Hub knows no licence {publish.license!r}{did_you_mean(publish.license.lower(), LICENSES)}",
            hint="Give one of its identifiers (cc-by-4.0, mit, …), or other, and name it under publish: sources.",
        )
    for language in publish.language:
        if not (language in _ISO_639_1 or re.fullmatch(r"[a-z]{3}|code|multilingual", language)):
            raise PublishError(
                f"the Hub knows no language {language!r}",
                hint="Give its ISO 639 code in small letters, without a country: en, de, yue, …",
            )


@dataclass(frozen=True)
class _Statement:
    """What must be stated before a dataset is public. name: the setting; title: in messages; flag: an example of its option."""

    name: str
    title: str
    question: str
    flag: str


_STATEMENTS = (
    _Statement(
        "license",
        "a licence",
        "Under which licence may others use the dataset (an identifier of the Hub, such as cc-by-4.0)?",
        "--license cc-by-4.0",
    ),
    _Statement(
        "personal_data",
        "a statement on personal data and consent",
        "Which personal data do the texts and answers hold, and did these people agree to their publication (one sentence; the card shows it)?",
        '--personal-data "None: all texts were written for this dataset."',
    ),
)


def missing_for_public(publish: PublishConfig) -> dict[str, str]:
    """What must be stated before the dataset is public: by setting, the question."""
    return {each.name: each.question for each in _missing(publish)}


def check_public(publish: PublishConfig) -> None:
    """Raises `PublishError` if something is missing that must be stated before the dataset is public."""
    if missing := _missing(publish):
        raise PublishError(
            f"a public dataset needs {' and '.join(each.title for each in missing)}",
            hint=f"Add {' and '.join(each.flag for each in missing)}, or state it in the recipe, under publish.",
        )


def _missing(publish: PublishConfig) -> list[_Statement]:
    return [each for each in _STATEMENTS if not (getattr(publish, each.name) or "").strip()]
