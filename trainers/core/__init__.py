"""Shared by all trainers: errors, settings, caches, output folders."""
