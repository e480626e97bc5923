"""Copies in two threads give what one `np.copyto` gives, and lose no error."""

from __future__ import annotations

import _thread
import time
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from ga3_nodes import copying

LARGE = (copying._LARGE // 4) + 3  # int32 values: above the limit, and not even


@pytest.mark.parametrize(
    "shape",
    [
        (LARGE,),
        (1, LARGE // 1000 + 1, 1000, 1),  # a plane of GA3
        (3, LARGE // 3000 + 1, 1000, 1),
        (1, 1, LARGE),
    ],
)
@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.bool_, np.int64])
def test_large_arrays_are_copied_whole_and_cast(
    shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    source = np.random.default_rng(1).integers(0, 2000, shape).astype(dtype)
    target = np.full(shape, -1, np.int32)
    copying.copy_into(target, source)
    np.testing.assert_array_equal(target, source.astype(np.int32))


def test_views_of_any_layout_can_be_copied() -> None:
    source = np.random.default_rng(2).integers(0, 9, (2400, 2000), np.int32)
    target = np.zeros((2000, 4800), np.int32)[:, ::2]
    copying.copy_into(target, source.T)
    np.testing.assert_array_equal(target, source.T)
    assert copying.copied(source.T).flags.c_contiguous


@pytest.mark.parametrize("shape", [(), (0,), (1, 1), (5, 0, 3)])
def test_small_and_empty_arrays(shape: tuple[int, ...]) -> None:
    target = np.zeros(shape, np.int32)
    copying.copy_into(target, np.ones(shape, bool))
    np.testing.assert_array_equal(target, np.ones(shape, np.int32))


def test_one_value_fills_a_large_array() -> None:
    target = np.zeros((1, LARGE), np.int32)
    copying.copy_into(target, np.array(7))
    assert (target == 7).all()


def test_an_array_can_be_copied_onto_itself() -> None:
    data = np.arange(2 * LARGE, dtype=np.int32)
    expected = data[LARGE // 2 :].copy()
    # The first half ends with reading what the second one begins with writing.
    copying.copy_into(data[: -(LARGE // 2)], data[LARGE // 2 :])
    np.testing.assert_array_equal(data[: len(expected)], expected)


def test_where_the_system_has_no_thread_to_give_the_copy_is_made_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(function: Callable[[], None], arguments: tuple[()]) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    source = np.arange(LARGE, dtype=np.int32)
    np.testing.assert_array_equal(copying.copied(source), source)


def test_the_copy_does_not_wait_for_a_thread_that_cannot_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late: list[Callable[[], None]] = []
    monkeypatch.setattr(_thread, "start_new_thread", lambda run, _: late.append(run))
    source = np.arange(LARGE, dtype=np.int32)
    target = copying.copied(source)
    np.testing.assert_array_equal(target, source)
    target[:] = -1
    late.pop()()  # what has no part left does nothing
    assert (target == -1).all()


def test_no_thread_holds_an_array_that_is_copied() -> None:
    """NIS takes its memory back as soon as a node has run."""
    for _ in range(20):
        source, target = np.arange(LARGE, dtype=np.int32), np.zeros(LARGE, np.int32)
        seen = weakref.ref(source), weakref.ref(target)
        copying.copy_into(target, source)
        del source, target
        assert [one() for one in seen] == [None, None]


@pytest.mark.parametrize("place", [0, LARGE // 2, -1])
@pytest.mark.parametrize("alone", [False, True])
def test_an_error_of_any_part_is_raised(
    monkeypatch: pytest.MonkeyPatch, place: int, alone: bool
) -> None:
    """Also where it meets the other thread, which here takes all that it can."""
    if not alone:
        begin = _thread.start_new_thread

        def first(run: Callable[[], None], _: tuple[()]) -> None:
            begin(run, ())
            time.sleep(0.05)

        monkeypatch.setattr(_thread, "start_new_thread", first)
    source = np.empty(LARGE, object)
    source[:] = 1
    source[place] = "no number"
    with pytest.raises(ValueError, match="no number"):
        copying.copy_into(np.zeros(LARGE, np.int32), source)
