"""The recipe: one YAML page that says what to annotate, by whom, with which model, and what to make of it."""
