"""Benchmarks of judges: prompts with responses of which it is known which are right. One module a benchmark; `judge_collection` finds them by name."""
