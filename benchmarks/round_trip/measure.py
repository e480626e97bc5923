"""Times of the transports: in turn, so that whatever else the computer does hits them alike."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.round_trip import own_module, work
from benchmarks.round_trip.transports import TRANSPORTS, Call, Shape
from ga3_nodes import client

SLOW = "process_numpy"  # takes part in every fourth round only
_EVERY = 4
_WARM_UP, _FEWEST, _MOST = 3, 3, 200  # rounds

Row = dict[str, Any]


def example(shape: Shape) -> np.ndarray:
    """Return an image of uint16, a tenth of it above the threshold."""
    noise = np.random.default_rng(1).integers(0, 10 * work.THRESHOLD // 9, shape, np.uint16)
    return np.asarray(noise)


def round_trips(folder: Path, shape: Shape, seconds: float) -> list[Row]:
    """Return a row for each transport, measured for about so many seconds in all."""
    image, mask = example(shape), np.zeros(shape, np.int32)
    with contextlib.ExitStack() as stack:
        calls = {
            name: stack.enter_context(open_transport(folder, shape))
            for name, open_transport in TRANSPORTS.items()
        }
        for name, call in calls.items():
            _warm_up(name, call, image, mask)
        times = _rounds(calls, image, mask, seconds)
    floor_ms = float(np.median(times["floor"])) * 1e3
    return [row(name, shape, times[name], floor_ms) for name in TRANSPORTS]


def _warm_up(name: str, call: Call, image: np.ndarray, mask: np.ndarray) -> None:
    """Call a few times, and see to it that the mask is right: else the time means nothing."""
    for _ in range(1 if name == SLOW else _WARM_UP):
        mask.fill(-1)
        result = call(image, mask)
        if name != "floor":
            np.testing.assert_array_equal(result, work.segment(image), err_msg=name)


def _rounds(
    calls: dict[str, Call], image: np.ndarray, mask: np.ndarray, seconds: float
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    shuffled = random.Random(1)
    deadline = time.monotonic() + seconds
    number = 0
    while number < _FEWEST * _EVERY or (time.monotonic() < deadline and number < _MOST):
        names = [name for name in calls if name != SLOW or number % _EVERY == 0]
        shuffled.shuffle(names)  # who comes behind whom must not matter
        for name in names:
            if name != SLOW:  # not timed: its memory is in the caches again, as frame after frame
                calls[name](image, mask)
            started = time.perf_counter()
            calls[name](image, mask)
            times[name].append(time.perf_counter() - started)
        number += 1
    return times


def row(transport: str, shape: Shape, times: list[float], floor_ms: float) -> Row:
    """Return the figures of one transport."""
    median_ms = float(np.median(times)) * 1e3
    return {
        "transport": transport,
        "shape": list(shape),
        "median_ms": median_ms,
        "p95_ms": float(np.percentile(times, 95)) * 1e3,
        "x_floor": median_ms / floor_ms,
        "calls": len(times),
    }


def ping(calls: int) -> float:
    """Return the median time of a call of ours with one pixel, in ms."""
    image = np.zeros((1, 1), np.uint16)
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        client.call(own_module.NAME, "segment", {"image": image}, copy=False)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1e3
