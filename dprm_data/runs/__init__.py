"""A run: one recipe in one folder, and the contents of that folder."""
