"""How fuzz tests run: 50 examples each, or as many as another profile says (make test-slow takes 1,000)."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

fuzzed = settings(
    max_examples=50 if settings.get_current_profile_name() in ("default", "ci") else settings().max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
