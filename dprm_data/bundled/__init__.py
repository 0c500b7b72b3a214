"""Filled with the bundled texts when a wheel is built; in a checkout they lie at the top of the project."""
