"""Counts the faults that were tried, and prints a table of them at the end of the run.

A plugin, named in ``tests/conftest.py``: where several processes run the tests, the one that prints
does not see this folder's own ``conftest.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

_tried: Counter[str] = Counter()
_survived: Counter[str] = Counter()


@pytest.fixture
def tried(request) -> Callable[[str], None]:
    """Return a function that counts a fault; it is survived where the test passes."""

    def count(kind: str) -> None:
        request.node.user_properties.append(("fault", kind))

    return count


def pytest_runtest_logreport(report):
    if report.when == "call":
        for name, kind in report.user_properties:
            if name == "fault":
                _tried[kind] += 1
                _survived[kind] += report.passed


def pytest_terminal_summary(terminalreporter):
    if not _tried:
        return
    terminalreporter.section("faults")
    for kind in sorted(_tried):
        _line(terminalreporter, kind, _tried[kind], _survived[kind])
    _line(terminalreporter, "in all", _tried.total(), _survived.total())


def _line(terminalreporter, kind, tried, survived):
    terminalreporter.write_line(f"{kind:<48} tried {tried:>3}  survived {survived:>3}")
