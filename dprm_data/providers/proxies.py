"""Which proxy the environment names for an address: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as curl understands them."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies

# HTTP_PROXY and its like say how to reach the world; no proxy can reach our own loopback address.
_OURSELVES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_this_machine(host: str) -> bool:
    """Whether the host is this machine: what the environment says of the world does not apply to it."""
    return host in _OURSELVES


def proxy_for(url: str) -> str | None:
    """The address of the proxy for a URL; None if there is none, or NO_PROXY exempts its host."""
    parts = urlsplit(url)
    host, said = parts.hostname or "", getproxies()
    proxy = said.get(parts.scheme) or said.get("all")
    if (
        not proxy
        or is_this_machine(host)
        or any(_exempts(entry, host, parts.port) for entry in said.get("no", "").split(","))
    ):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _exempts(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY covers the host: `*`, a network, or a name (with what is below it) with or without a port."""
    entry = entry.strip().lower().rpartition("://")[2]
    if entry == "*":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    name, colon, only = entry.rpartition(":")
    if colon and only.isdigit():
        if int(only) != port:
            return False
        entry = name
    entry = entry.strip("[]").lstrip("*").lstrip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))
