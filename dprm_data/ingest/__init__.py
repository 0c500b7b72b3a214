"""From people's tables and datasets to items, votes and ratings."""
