"""The version of this distribution. Nothing else states it: pyproject.toml reads it from here."""

__version__ = "0.1.0"
