"""What is trained on: rows in splits, conversations as tokens."""
