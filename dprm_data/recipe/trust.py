"""Ask before a recipe sends a secret of this environment to an address that is not its owner's.

A recipe may be a stranger's, and it names both addresses and environment variables. What it may do:

    unasked    a key goes to its own provider over TLS, or to this machine; a database's password to this machine or to PGHOST
    allowed    the host is listed in DPRM_TRUST, or the user has said yes before (`dprm trust`, or on being asked): `trusted_file`
    asked      everything else, on a terminal; where nobody can be asked, it is refused

A recipe that Python code makes is the code's own and is not checked, nor is an address from the environment, such as OPENAI_BASE_URL.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dprm_data.core.errors import InputError
from dprm_data.core.ledger_address import FILE, LedgerAddress
from dprm_data.core.registry import PROVIDERS
from dprm_data.core.tables import write_text
from dprm_data.core.text import one_line
from dprm_data.recipe.generate_config import generators
from dprm_data.recipe.provider_config import EndpointConfig, ProviderConfig
from dprm_data.recipe.recipe import Recipe

HOSTS = "DPRM_TRUST"  # the environment variable that lists hosts, separated by commas or spaces

# Where a key belongs beside its provider's own address: these hosts, and those below them. Only hosts whose owner cannot be anybody's customer.
_OWNERS: dict[str, tuple[str, ...]] = {
    "AZURE_OPENAI_API_KEY": ("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"),
    "TOGETHER_API_KEY": ("api.together.ai",),
    "GOOGLE_API_KEY": ("generativelanguage.googleapis.com",),
    "PERPLEXITY_API_KEY": ("api.perplexity.ai",),
    "CEREBRAS_API_KEY": ("api.cerebras.ai",),
    "NVIDIA_API_KEY": ("integrate.api.nvidia.com",),
    "HF_TOKEN": ("router.huggingface.co",),
}
_OTHERS = re.compile(r"AWS_|PG[A-Z]|GITHUB_|GH_|GITLAB_|HF_|HUGGING_FACE_|ARGILLA_|GOOGLE_APPLICATION_")


@dataclass(frozen=True)
class Sending:
    """Something that needs the user's consent. what: a variable's name, or what else is at stake; to: the origin that gets it."""

    what: str
    to: str
    sentence: str

    @property
    def entry(self) -> str:
        """How consent is remembered."""
        return f"{self.what} {self.to}"

    @property
    def host(self) -> str:
        return self.to.rpartition("//")[2]


def check(recipe: Recipe, *, calls: bool = False, environ: Mapping[str, str] = os.environ) -> None:
    """Ask about everything that needs consent, or raise `InputError` where it is refused or nobody can be asked.

    calls: whether calls will be made. Without them, only the ledger is connected to.
    """
    for sending in pending(recipe, calls=calls, environ=environ):
        if not _asked(recipe, sending):
            raise InputError(
                f"{recipe.file}: {sending.sentence}",
                hint=f"If that is right, allow it once: dprm trust {recipe.file}\n(or list the host in the environment variable {HOSTS}).",
            )
        remember(sending)


def pending(recipe: Recipe, *, calls: bool = True, environ: Mapping[str, str] = os.environ) -> list[Sending]:
    """What needs consent and does not have it yet. Empty for a recipe that is not from a file."""
    if recipe.file is None:
        return []
    found = [*_ledger(recipe.ledger, environ)]
    if calls:
        found += [
            sending
            for entry in (*recipe.entries, *generators(recipe.generate))
            for place in entry.places
            for sending in _place(entry, place, environ)
        ]
        found += _ray(recipe)
    if not found:
        return []
    allowed = _remembered(environ)
    hosts = set(re.split(r"[,\s]+", environ.get(HOSTS, "")))
    return [
        each
        for each in dict.fromkeys(found)
        if each.entry not in allowed and not hosts & {each.host, each.host.rpartition(":")[0]} - {""}
    ]


def remember(sending: Sending) -> None:
    """Keep the user's consent for every later run. A file that cannot be written is no obstacle: they are asked again."""
    try:
        write_text(trusted_file(), "".join(f"{entry}\n" for entry in sorted({*_remembered(os.environ), sending.entry})))
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"dprm: the answer cannot be remembered: {error}\n")


def trusted_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The file with what the user has allowed, one entry per line."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path("~/.config").expanduser()) / "dprm" / "trusted"


def _remembered(environ: Mapping[str, str]) -> set[str]:
    try:
        return set(trusted_file(environ).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError, RuntimeError):  # RuntimeError: there is no home folder
        return set()


def _asked(recipe: Recipe, sending: Sending) -> bool:
    """The user's answer; False where there is no terminal."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{one_line(str(recipe.file), 200)}: {sending.sentence}.\nAllow it, now and later? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# -- what a recipe would send -----------------------------------------------------------------------------------------


def _place(config: ProviderConfig, place: EndpointConfig, environ: Mapping[str, str]) -> Iterator[Sending]:
    kind = config.kind
    own = getattr(kind, "key_variable", None)
    variable = place.api_key_env or own
    if variable is None or not environ.get(variable, "").strip():
        return
    at_home = urlsplit(getattr(kind, "default_url", "")).hostname
    url = place.base_url
    if url is None:
        owners = () if variable == own else _owners(variable)
        if variable != own and (_OTHERS.match(variable) or (owners and at_home not in owners)):
            yield _sending(variable, f"https://{at_home or config.name}", "which it does not belong to")
        return
    scheme, host, port = _parts(url)
    if not host or _is_loopback(host):
        return
    to = f"{scheme}://{host}{f':{port}' if port else ''}"
    owners = _owners(variable) or ((at_home,) if at_home and not _OTHERS.match(variable) else ())
    if not any(host == owner or host.endswith(f".{owner}") for owner in owners):
        yield _sending(variable, to, "which is not known as an address for that key" if scheme == "https" else _PLAIN)
    elif scheme != "https":
        yield _sending(variable, to, _PLAIN)


def _owners(variable: str) -> tuple[str, ...]:
    """The hosts that a key belongs to; none for a variable that is no provider's."""
    kinds = (PROVIDERS.get(name) for name in PROVIDERS.names())
    own = [urlsplit(kind.default_url).hostname for kind in kinds if kind.key_variable == variable and kind.default_url]
    return (*filter(None, own), *_OWNERS.get(variable, ()))


_PLAIN = "without encryption"


def _sending(variable: str, to: str, why: str) -> Sending:
    shown = one_line(to, 100)
    return Sending(variable, to, f"would send the value of the environment variable {variable} to {shown}, {why}")


def _ledger(address: LedgerAddress | None, environ: Mapping[str, str]) -> Iterator[Sending]:
    if address is None or address.scheme == FILE:
        return
    variable = address.variable or ("PGPASSWORD" if environ.get("PGPASSWORD") else None)
    if variable is None:
        return
    for host in _ledger_hosts(address):
        if host and not host.startswith(("/", "@")) and not _is_loopback(host) and host != environ.get("PGHOST"):
            yield _sending(variable, f"{address.scheme}://{host}", "the address of its ledger")


def _ledger_hosts(address: LedgerAddress) -> list[str]:
    """Where the driver would connect, by its own reading of the URL."""
    if not address.scheme.startswith("postgres"):
        return [urlsplit(address.url).hostname or address.url]
    try:
        from psycopg import Error
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        return []  # no connection can be made
    try:
        fields = conninfo_to_dict(address.url)
    except Error:
        return []  # nor here
    named = [str(fields[name]) for name in ("host", "hostaddr", "service", "servicefile") if fields.get(name)]
    return [host for value in named for host in value.split(",")]


def _ray(recipe: Recipe) -> Iterator[Sending]:
    if recipe.engine != "ray":
        return
    address = recipe.ray.address
    if address not in (None, "auto", "local") and not _is_loopback(address.rpartition(":")[0]):
        yield Sending("ray", address, f"would run as part of the Ray cluster at {one_line(address, 100)}")
    if recipe.ray.runtime_env:
        content = json.dumps(recipe.ray.runtime_env, sort_keys=True, default=str)
        digest = hashlib.sha256(content.encode()).hexdigest()
        yield Sending(
            "ray.runtime_env", digest, f"would install and run what ray.runtime_env names: {one_line(content, 300)}"
        )


def _parts(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port as the HTTP client reads them; no host where it would refuse the address."""
    import httpx2  # slow to import

    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        return "", "", None
    return parsed.scheme, parsed.host.rstrip("."), parsed.port


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
