"""The Python interface for recipes, runs and single responses, and the notebook view of results."""
