"""Files, links and folders to count, and the word of the system on them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

BLOCK = 4096
needs_du = pytest.mark.skipif(not shutil.which("du") or os.name == "nt", reason="there is no du")


def write(path, size=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)
    return target


def size(path):
    """Return the allocated bytes of one file or folder, by the system's own word."""
    state = path.lstat()
    blocks = getattr(state, "st_blocks", None)
    return -(-state.st_size // BLOCK) * BLOCK if blocks is None else blocks * 512


def folders(path):
    return size(path) + sum(size(p) for p in path.rglob("*") if p.is_dir() and not p.is_symlink())


def du(*folders):
    command = ["du", "-s", "-c", "--block-size=1", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1].split()[0])


def many(folder, number, per_folder=500):
    for start in range(0, number, per_folder):
        below = folder / f"part {start}" / "é"
        below.mkdir(parents=True)
        for name in range(min(per_folder, number - start)):
            os.close(os.open(below / f"{name}.py", os.O_CREAT | os.O_WRONLY))
    return folder
