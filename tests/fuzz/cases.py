"""Many cases of one kind, the same ones every time."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def assert_all(check: Callable[[Any], None], cases: st.SearchStrategy[Any], count: int) -> None:
    """Raises what a check raises of any of so many cases, of the smallest that is found."""

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def one(case: Any) -> None:
        check(case)

    one()
