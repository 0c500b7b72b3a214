"""Several processes on one PostgreSQL ledger: leases, one budget, one rate limit."""
