"""A run as it runs, in a browser: `dprm view` and `dprm run --page`.

ledger_tail     calls by model and time, read from the end of a growing ledger
item_front      which items are done, and which are being asked about
judged_sample   the annotations of a few items: labels, agreement, newest answers
run_snapshot    one run's state, as the page gets it
watcher         reads the runs again and again, while somebody looks
page_server     HTTP on loopback, behind a token
page_beside     the page of a run, in a process of its own
"""
