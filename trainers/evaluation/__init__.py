"""Evaluation of reward models, and comparison of policies."""
