"""Training data: rows in splits, conversations as tokens."""
