"""Review: real people look at the simulated labels, and what they say counts.

selection          which items people are to see
records            an item as a person sees it
argilla            to an Argilla server and back
csv_exchange       to a table and back, for teams that use a spreadsheet or another tool
human_annotations  what people said, kept in the run folder
compare            the panel beside the people
calibrate          how to read the panel, learned from what people said
"""
