"""The old file stays until the new one is complete: stopped, killed, out of room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envmanager.errors import ImageError
from envmanager.writing import open_writer
from tests.envmanager.writing.support import (
    KINDS,
    NEW,
    OLD,
    layout_of,
    random_pixels,
    same_pixels,
    write,
)
from tests.support import PROJECT


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("a"))


@pytest.mark.windows
@pytest.mark.parametrize("name", KINDS)
def test_the_old_one_stays_until_the_new_one_is_complete(tmp_path, name):
    path = write(tmp_path / name, OLD)
    with open_writer(path, layout_of(NEW)) as writer:
        for t in range(3):
            writer.write(NEW[t], t=t)
            same_pixels(path, OLD)
        writer.finish()
        same_pixels(path, NEW)
        writer.discard()
    writer.discard()
    same_pixels(path, NEW)
    assert left(tmp_path) == [name]
    for late in (writer.finish, lambda: writer.write(NEW[0])):
        with pytest.raises(ImageError, match="was finished or discarded"):
            late()


@pytest.mark.windows
@pytest.mark.parametrize("name", [*KINDS, "a.png"])
def test_what_is_discarded_leaves_nothing(tmp_path, name):
    pixels = NEW[:1]
    for planes in (0, 1):
        writer = open_writer(tmp_path / name, layout_of(pixels))
        if planes:
            writer.write(pixels[0])
        writer.discard()
        writer.discard()
        assert left(tmp_path) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_plane_that_is_missing_is_told(tmp_path, name):
    path = write(tmp_path / name, OLD)
    with open_writer(path, layout_of(NEW)) as writer:
        writer.write(NEW[1], t=1)
        with pytest.raises(ImageError, match="2 of 3 planes are missing"):
            writer.finish()
    same_pixels(path, OLD)
    assert left(tmp_path) == [name]


@pytest.mark.parametrize("name", KINDS)
def test_a_plane_that_comes_again_replaces_the_earlier_one(tmp_path, name):
    with open_writer(tmp_path / name, layout_of(NEW)) as writer:
        for pixels in (OLD[0, :, :1], NEW[2]):
            writer.write(pixels, t=0)
        for t in range(3):
            writer.write(NEW[t], t=t)
        writer.finish()
    same_pixels(tmp_path / name, NEW)


def test_a_part_after_the_whole_is_not_mixed_with_it(tmp_path):
    pixels = random_pixels(1, 1, 2, 5, 6)
    with open_writer(tmp_path / "a.tif", layout_of(pixels)) as writer:
        writer.write(pixels[0])
        writer.write(pixels[0, :, :1])
        with pytest.raises(ImageError, match="1 of 2 planes are missing"):
            writer.finish()
        writer.write(pixels[0])
        writer.finish()
    same_pixels(tmp_path / "a.tif", pixels)


def test_one_frame_needs_no_spool(tmp_path):
    pixels = random_pixels(1, 2, 2, 5, 6)
    with open_writer(tmp_path / "a.tif", layout_of(pixels)) as writer:
        writer.write(pixels[0])
        assert left(tmp_path) == [f"a.tif.{os.getpid()}.tmp"]
        writer.finish()
    same_pixels(tmp_path / "a.tif", pixels)


def killed(code: str, *arguments) -> None:
    """Run code that ends itself like a process that is killed."""
    begin = (
        "import os, sys, numpy as np\nfrom pathlib import Path\n"
        "from envmanager.writing import Layout, open_writer, putting\n"
        "path = Path(sys.argv[1])\n"
        "layout = Layout(3, 1, 1, 20, 30, np.dtype('u2'), False, None, ())\n"
        "writer = open_writer(path, layout)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin + code, *map(str, arguments)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 9, done.stderr


@pytest.mark.windows
@pytest.mark.parametrize("name", KINDS)
def test_a_writer_that_is_killed_leaves_the_old_one_and_the_next_sweeps(tmp_path, name):
    path = write(tmp_path / name, OLD)
    killed(
        "[writer.write(np.full((1, 1, 20, 30), t, 'u2'), t=t) for t in (0, 1)]\nos._exit(9)", path
    )
    assert len(left(tmp_path)) > 1
    same_pixels(path, OLD)
    others = [tmp_path / f"{name}.{os.getpid()}.tmp.txt", tmp_path / f"{name}.notes.tmp"]
    for other in others:
        other.write_text("the user's own", "utf-8")
    write_over = open_writer(path, layout_of(NEW))
    for t in range(3):
        write_over.write(NEW[t], t=t)
    write_over.finish()
    assert left(tmp_path) == sorted([name, *(other.name for other in others)])
    same_pixels(path, NEW)


@pytest.mark.windows
def test_a_folder_that_was_moved_aside_gets_its_name_back(tmp_path):
    path = write(tmp_path / "a.zarr", OLD)
    killed(
        "[writer.write(np.zeros((1, 1, 20, 30), 'u2'), t=t) for t in range(3)]\n"
        "rename = Path.rename\n"
        "def last(place, to):\n    if to == path: os._exit(9)\n    return rename(place, to)\n"
        "Path.rename = last\nwriter.finish()",
        path,
    )
    assert not path.exists()
    open_writer(path, layout_of(NEW)).discard()
    same_pixels(path, OLD)
    assert left(tmp_path) == ["a.zarr"]


@pytest.mark.windows
def test_a_file_gives_way_to_a_folder(tmp_path):
    (tmp_path / "a.zarr").write_bytes(b"old")
    same_pixels(write(tmp_path / "a.zarr", NEW), NEW)


# ---- a full disk --------------------------------------------------------------------------------

FULL = """
import sys, numpy as np
from pathlib import Path
from envmanager.errors import DiskFull
from envmanager.reading.series import open_series
from envmanager.writing import Layout, open_writer

folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 60000, (1, 1, 512, 512)).astype("u2")
for name in ("a.tif", "a.zarr", "a.npy"):
    for frames in (1, 60):
        layout = Layout(frames, 1, 1, 512, 512, noise.dtype, False, None, ())
        try:
            with open_writer(folder / name, layout) as writer:
                for t in range(frames):
                    writer.write(noise, t=t)
                writer.finish()
        except DiskFull as error:
            print(name, frames, error.code, error.details["path"])
    left = sorted(p.name for p in folder.iterdir())
    print(left, open_series(folder / name).times, np.array_equal(
        open_series(folder / name).plane()[..., 0], noise[0, 0]))
    [p.unlink() for p in sorted((folder / name).rglob("*")) if p.is_file()]
    import shutil
    shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
"""


def test_a_full_disk_leaves_the_old_one(tmp_path):
    """A real one: a small tmpfs in a mount namespace of its own."""
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare")
    (tmp_path / "small").mkdir()
    code = tmp_path / "code.py"
    code.write_text(FULL, "utf-8")
    shell = 'mount -t tmpfs -o size=8M none "$1" || exit 77; exec "$2" "$3" "$1"'
    done = subprocess.run(
        [
            "unshare",
            "-rm",
            "sh",
            "-c",
            shell,
            "sh",
            tmp_path / "small",
            sys.executable,
            tmp_path / "code.py",
        ],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert done.stdout.splitlines() == [
        line
        for name in KINDS
        for line in (f"{name} 60 disk_full {tmp_path / 'small'}", f"{[name]} 1 True")
    ], done.stderr
