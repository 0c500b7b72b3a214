"""A run spread over the actors of a Ray cluster."""
