"""A run: one recipe in one folder, and what that folder holds."""
