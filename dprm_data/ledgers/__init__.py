"""The ledger's stores: one protocol, SQLite (a file, one process) and PostgreSQL (a server, many processes)."""
