"""Prints what the project and its extras need, as requirements: `python tests/needs.py EXTRA ...`, in the checkout.

pip verifies hashes of files, and a checkout is none: so what it needs is installed by itself, before the checkout.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *(need for extra in sys.argv[1:] for need in extras[extra]), sep="\n")
