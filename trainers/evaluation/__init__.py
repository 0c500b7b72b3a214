"""How good reward models are, and how policies compare."""
