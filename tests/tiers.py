"""Which cases of a long parametrization `make test` takes; `make test-thorough` takes all."""

import pytest


def every(step, cases):
    """Cases, of which each but the first of `step` is for the thorough suite alone."""
    return [case if number % step == 0 else thorough(case) for number, case in enumerate(cases)]


def thorough(case):
    """A case for the thorough suite alone."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.thorough)
