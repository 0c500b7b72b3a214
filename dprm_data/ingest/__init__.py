"""From tables and datasets to items, votes and ratings."""
