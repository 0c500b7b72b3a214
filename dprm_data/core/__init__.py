"""Shared by every other package: errors, texts, tables, YAML and the messages of a conversation."""
