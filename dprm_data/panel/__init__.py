"""Who judges: personas, and the weighted panels that stand for a population."""
