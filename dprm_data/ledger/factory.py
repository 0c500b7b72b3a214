"""Open the store at a ledger's address."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing

from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.core.registry import LEDGER_STORES
from dprm_data.ledger.store import LedgerStore


def store_class(address: LedgerAddress) -> type[LedgerStore]:
    """The store that serves the address's scheme."""
    store: type[LedgerStore] = LEDGER_STORES.get(address.scheme)
    return store


def open_store(address: LedgerAddress, *, readonly: bool = False) -> LedgerStore:
    """The store at the address. Raises as the constructor of `LedgerStore`."""
    return store_class(address)(address, readonly=readonly)


def exists(address: LedgerAddress) -> bool:
    """Whether the ledger exists. Raises as `LedgerStore.exists`."""
    return store_class(address).exists(address)


def opened(address: LedgerAddress) -> AbstractContextManager[LedgerStore]:
    """The store, open for reading until the end of the block. Raises as `open_store`."""
    return closing(open_store(address, readonly=True))
