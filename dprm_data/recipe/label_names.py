"""The `labels` of a recipe, where they are a list of names."""

from __future__ import annotations


def checked_labels(value: object) -> object:
    """Names of labels are texts. YAML reads some as truth values or numbers."""
    if isinstance(value, bool):
        raise ValueError(
            "must be a name, a number of levels, or a list of names; YAML reads yes, no, on and off as true and false"
        )
    if not isinstance(value, list):
        return value
    if any(isinstance(name, bool) for name in value):
        raise ValueError(
            "YAML reads yes, no, on and off as true and false; put the names in quotes, such as ['no', 'yes']"
        )
    if not all(isinstance(name, str) for name in value):
        raise ValueError(
            "a list of labels is a list of names, from the worst to the best, such as [bad, fair, good]; for a scale 1 ... K give K alone"
        )
    if not 2 <= len(value) <= 1000:
        raise ValueError(f"a list of labels has 2 to 1000 names, found {len(value)}")
    return value
