"""Personas, and the weighted panels that represent a population."""
