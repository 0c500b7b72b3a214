"""How fuzz tests run: 200 examples each, or as many as the profile says (--hypothesis-profile=fuzz)."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

fuzzed = settings(
    max_examples=max(200, settings().max_examples),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
