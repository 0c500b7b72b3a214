"""Review: people check the simulated labels, and their answers count.

selection          which items people see
records            an item as a person sees it
argilla            records to an Argilla server, and answers back
csv_exchange       items to a CSV or JSONL table, and answers back
answer_ledger      people's answers as they came in, append-only
human_annotations  their current answers, and the run's annotations with them
compare            how the panel differs from people
calibrate          correct the panel by people's answers
"""
