"""The engine: makes the calls that the ledger does not hold yet, within the budget and the rate limits."""
