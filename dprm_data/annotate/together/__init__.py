"""What the workers on one PostgreSQL ledger agree about (the tables: `dprm_data/ledgers/workers.py`; the promises: docs/workers.md)."""
