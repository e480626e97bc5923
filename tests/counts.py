"""Counts what the tests try, faults above all, and prints a table of it at the end of the run.

A plugin, named in ``tests/conftest.py``: where several processes run the tests, the one that prints
does not see the ``conftest.py`` of a folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

_tried: Counter[str] = Counter()
_passed: Counter[str] = Counter()


@pytest.fixture
def tried(request) -> Callable[..., None]:
    """Return a function that counts what a test tries; it went well where the test passes."""

    def count(kind: str, number: int = 1) -> None:
        request.node.user_properties.append(("tried", [kind, number]))

    return count


def pytest_runtest_logreport(report):
    if report.when == "call":
        for name, value in report.user_properties:
            if name == "tried":
                kind, number = value
                _tried[kind] += number
                _passed[kind] += number * report.passed


def pytest_terminal_summary(terminalreporter):
    if not _tried:
        return
    terminalreporter.section("tried")
    for kind in sorted(_tried):
        _line(terminalreporter, kind, _tried[kind], _passed[kind])
    kills = [kind for kind in _tried if kind.startswith("SIGKILL")]
    if kills:
        total = sum(_tried[kind] for kind in kills)
        _line(terminalreporter, "SIGKILL, in all", total, sum(_passed[kind] for kind in kills))


def _line(terminalreporter, kind, tried, passed):
    terminalreporter.write_line(f"{kind:<48} tried {tried:>6}  went well {passed:>6}")
