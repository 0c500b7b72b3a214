"""The stages of a run, from its source to its dataset."""
