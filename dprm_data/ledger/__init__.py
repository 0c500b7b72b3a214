"""The ledger: every call ever paid for, in a SQLite file or a PostgreSQL database."""
