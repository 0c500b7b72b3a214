"""What every other package may use: errors, texts, tables, YAML, and the parts of a conversation."""
