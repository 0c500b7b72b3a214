"""Recipes, runs and single responses from Python: what scripts and notebooks call, and how results show themselves."""
