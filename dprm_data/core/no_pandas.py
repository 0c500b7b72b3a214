"""Keep pandas out of a command that does not use it.

Where pandas is installed, pyarrow imports it at the first conversion of a list, to see whether the list is an object of pandas: 38 MiB and a
third of a CPU second.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

import pyarrow as pa

from dprm_data.core.registry import load_extensions


class _NotFound:
    """A finder for which pandas is not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
        return None


def keep_pandas_out() -> None:
    """Let pyarrow's first look for pandas find nothing. For the process of a command, in which nobody converts an object of pandas.

    Does nothing if an extension of another package is loaded, which may. Converting tables to and from pandas works all the same: there
    pyarrow looks again.
    """
    if "pandas" in sys.modules or load_extensions.cache_info().currsize:
        return
    finder = _NotFound()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)
