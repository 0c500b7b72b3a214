"""What is never published: keys, passwords, hosts and paths of the publisher's machine."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dprm_data.core.key_shapes import may_hold_secret

MASK = "(not published)"
LOCAL = "a local server"
# How the work was spread and where its files were: nothing that a reader could use.
OWN_MATTERS = ("output", "ledger", "engine", "ray")
_NOT_TEXTS = ("labels", "panel")  # the reader's data, not settings of this machine
_PATH = re.compile(r"(?<![\w./:])(?:~?(?:/[\w.@+-]+){2,}|[A-Za-z]:\\[\w.@+\\-]+)")
_HOST = re.compile(
    r"(?<![\w.-])(?:(?:\w{1,20}://)?(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\])(?::\d+)?(?:/[\w./-]*)?|\w{1,20}://[\w.-]+(?::\d+)?(?:/[\w./-]*)?|[\w-]+(?:\.[\w-]+)+:\d{2,5})"
)


def public_recipe(content: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without folders, local hosts, passwords in addresses, and anything that looks like a key."""
    recipe = {name: value for name, value in content.items() if name not in OWN_MATTERS}
    for name in ("source", "ratings"):
        section = dict(recipe.get(name) or {})
        if section.get("path"):
            recipe[name] = section | {"path": PurePath(section["path"]).name}
    if recipe.get("provider"):
        recipe["provider"] = _public_provider(recipe["provider"])
    if recipe.get("models"):
        recipe["models"] = [_public_provider(model) for model in recipe["models"]]
    if recipe.get("generate"):
        generators = [_public_provider(model) for model in recipe["generate"]["models"]]
        recipe["generate"] = {**recipe["generate"], "models": generators}
    return {name: value if name in _NOT_TEXTS else without_paths(value) for name, value in recipe.items()}


def _public_provider(section: Mapping[str, Any]) -> dict[str, Any]:
    provider = dict(section)
    if provider.get("base_url"):
        provider["base_url"] = published_url(provider["base_url"])
    if provider.get("endpoints"):
        provider["endpoints"] = _public_endpoints(provider["endpoints"])
    for name in ("extra", "options"):
        if provider.get(name):
            provider[name] = without_secrets(provider[name])
    return provider


def _public_endpoints(endpoints: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Without their secrets several may be alike; they stay different, as a recipe demands."""
    found: list[dict[str, Any]] = []
    seen: dict[tuple[str | None, Any], int] = {}
    for endpoint in endpoints:
        url = published_url(endpoint["base_url"]) if endpoint.get("base_url") else None
        place = (url, endpoint.get("api_key_env"))
        seen[place] = seen.get(place, 0) + 1
        found.append({**endpoint, "base_url": f"{url} ({seen[place]})" if url and seen[place] > 1 else url})
    return found


def public_addresses(urls: Iterable[str | None]) -> str | None:
    """These addresses as they are published, each once; None if the provider's own address is used."""
    return ", ".join(dict.fromkeys(published_url(url) for url in urls if url)) or None


def published_url(url: str) -> str:
    """The address without user, password and query; "a local server" if only the publisher's network knows it."""
    return LOCAL if is_local(_host(url)) else public_url(url)


def public_url(url: str) -> str:
    """The address without user, password and query."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "(no address)"
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{port}" if port else host, parts.path, "", ""))


def is_local(host: str) -> bool:
    """Whether the host is this machine, or a name or address of a private network."""
    host = host.lower().strip("[]").rstrip(".")
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        private = (
            ".localhost",
            ".local",
            ".internal",
            ".lan",
            ".home",
            ".corp",
            ".intranet",
            ".home.arpa",
            ".localdomain",
        )
        return "." not in host or host.endswith(private) or host in _own_names()


@cache
def _own_names() -> frozenset[str]:
    names = {socket.gethostname().lower(), socket.getfqdn().lower()} - {""}
    return frozenset(names)


def without_secrets(value: Any) -> Any:
    """A copy in which the values of names like `api_key` or `Authorization` are masked."""
    if isinstance(value, Mapping):
        return {
            name: MASK if may_hold_secret(str(name)) and not isinstance(inner, Mapping) else without_secrets(inner)
            for name, inner in value.items()
        }
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


def without_paths(value: Any) -> Any:
    """A copy in which texts that are absolute paths are file names only."""
    if isinstance(value, Mapping):
        return {name: without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner) for inner in value]
    return file_name(value) if isinstance(value, str) else value


def file_name(text: str) -> str:
    """The last part of an absolute path; any other text unchanged."""
    if "\n" in text:
        return text
    if text.startswith(("/", "~/")):
        return PurePosixPath(text).name if text.count("/") > 1 else text
    return PureWindowsPath(text).name if re.match(r"[A-Za-z]:[\\/]|\\\\", text) else text


def public_text(text: str, hosts: Iterable[str] = ()) -> str:
    """A message without hosts and folders of this machine: paths become their last part, local hosts (and `hosts`) "a local server"."""
    text = _HOST.sub(lambda match: LOCAL if _is_local_address(match[0]) else match[0], text)
    for host in sorted({*hosts, *_own_names()}, key=len, reverse=True):
        if len(host) > 2 and host in text.lower():
            text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?::\d+)?(?![\w-])", LOCAL, text, flags=re.IGNORECASE)
    return _PATH.sub(lambda match: file_name(match[0]), text)


def local_hosts(urls: Iterable[str | None]) -> list[str]:
    """The hosts in these addresses that only the publisher's network knows."""
    hosts = {_host(url) for url in urls if url}
    return sorted(host for host in hosts if host and is_local(host))


def _host(address: str) -> str:
    try:
        return urlsplit(address if "://" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""


def _is_local_address(address: str) -> bool:
    return is_local(_host(address))
