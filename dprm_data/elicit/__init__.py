"""Elicitation: what an annotator is asked, and how the answer is read."""
