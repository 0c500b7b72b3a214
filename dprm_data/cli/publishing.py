"""Commands that share a dataset: publish, pull, report."""
