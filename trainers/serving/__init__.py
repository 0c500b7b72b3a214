"""The reward as an HTTP service, for trainers that run elsewhere: `dprm serve-reward` (extra: serve).

gate        who may come in: the key, how many at once, how large a body
forms       what is asked and answered: our own form, OpenRLHF's and verl's
gathering   rows of several requests become one batch of the model
metrics     what has happened, for Prometheus
app         the routes
server      the process: its socket, its signals, its end
"""
