"""Memory is that of some planes, whatever the length of a series."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROJECT

BOUND_MB, SERIES_MB = 100, 300
CODE = """
import sys
from pathlib import Path
import imagecodecs, numpy as np, tifffile, zarr
from envmanager.reading.series import open_series
from envmanager.writing import Layout, open_writer

def peak_mb():
    with open("/proc/self/status") as lines:
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

what, path, labels = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "labels"
side, dtype = 1024, np.dtype(np.int32 if labels else np.uint16)
frames = int(sys.argv[4]) * 10**6 // (side * side * dtype.itemsize)
base = peak_mb()
if what == "write":
    with open_writer(path, Layout(frames, 1, 1, side, side, dtype, labels, None, ())) as writer:
        for t in range(frames):
            # The last frame tells that the labels of all need 32 bits.
            value = 70_000 if labels and t == frames - 1 else t
            writer.write(np.full((1, 1, side, side), value, dtype), t=t)
        writer.finish()
else:
    series = open_series(path)
    assert series.times == frames
    for t in range(frames - 1):
        assert series.plane(t)[5, 5, 0] == t
print(peak_mb() - base)
"""


def _peak_mb(*words: object) -> float:
    """Return by how many MB the memory of a process of its own grew at most."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, words), str(SERIES_MB)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is told by Linux")
@pytest.mark.parametrize(("name", "kind"), [("a.tif", "labels"), ("a.zarr", "image")])
def test_a_long_series_needs_the_memory_of_some_planes(tmp_path, name, kind):
    for what in ("write", "read"):
        assert _peak_mb(what, tmp_path / name, kind) < BOUND_MB, what
