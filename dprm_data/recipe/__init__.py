"""The recipe: one YAML file that configures a run."""
