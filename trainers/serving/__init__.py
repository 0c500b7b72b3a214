"""Rewards over HTTP, for trainers that run elsewhere: `dprm serve` (extra: serve).

admission          limits checked before a body is parsed: key, concurrency, body size
request_forms      requests and responses: our own form, OpenRLHF's and verl's
queries            OpenRLHF's texts as turns
batching           rows of several requests in one batch of the model
service_metrics    counters for Prometheus
connections        connections that send or read too slowly are closed
app                the routes
server             the process: socket, signals, shutdown
"""
