"""A computing device is used by one call at a time, across the workers of all modules and accounts.

Two models that compute at once on one GPU are slower than one after the other, and may together
not fit into its memory. The turn is a lock of the operating system: a worker that dies frees it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ga3_nodes import leases, locks
from ga3_nodes.running import Running

CPU = "cpu"
_POLL_S = 0.05
_OUT_OF_MEMORY = {"OutOfMemoryError", "ResourceExhaustedError"}  # of torch, of TensorFlow
_TEXTS = re.compile(r"(CUDA|HIP|CUBLAS|CUDNN|MPS).*(out of memory|OUT_OF_MEMORY|ALLOC_FAILED)")


@contextlib.contextmanager
def turn(device: str, module: str, running: Running) -> Iterator[None]:
    """Hold a device for the time of a call, waiting for the calls of other workers.

    Parameters
    ----------
    device : str
        Such as ``"cuda:0"``; nobody waits for the CPU.
    module : str
        What the others are told while they wait.

    Raises
    ------
    Cancelled
        The caller has cancelled while waiting.
    """
    lock = None if device == CPU else _acquired(device, running)
    if lock:
        note = {"module": module, "pid": os.getpid(), "user": leases.user_name()}
        with contextlib.suppress(OSError):  # a file that another account's dead worker left
            lock.write_note({**note, "since": time.time()})
    try:
        yield
    finally:
        if lock:
            lock.release()


def _acquired(device: str, running: Running) -> _DeviceLock | None:
    path = lock_path(device)
    lock = _DeviceLock(path)
    try:
        path.parent.mkdir(exist_ok=True)
        while not lock.acquire():
            running.progress(0.0, f"waiting for {device}, used by {_user(path)}")
            time.sleep(_POLL_S)
    except OSError:  # rather no turns than no result
        return None
    return lock


def lock_path(device: str) -> Path:
    """Return the lock file of a device, in a folder where every account may make files."""
    if sys.platform == "win32":
        folder = Path(os.environ.get("PROGRAMDATA") or "C:\\ProgramData") / "GA3EnvManager-locks"
    else:
        folder = Path("/tmp")
    return folder / f"ga3env-{re.sub('[^A-Za-z0-9_.]', '_', device)}.lock"


def _user(path: Path) -> str:
    """Say who holds a device, as far as the note tells it; it may be another account's."""
    note = locks.read_note(path)
    module, pid, user = (str(note.get(key, ""))[:100] for key in ("module", "pid", "user"))
    return f"{module} (process {pid} of {user})" if module else "another program"


class _DeviceLock(locks.FileLock):
    """A lock file that other accounts can lock too, also where they may only read it."""

    def _open(self) -> int:
        # In a folder of all accounts nobody shall lead us to another file through a link.
        safe = getattr(os, "O_NOFOLLOW", 0)
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | safe, 0o644)
        except PermissionError:
            return os.open(self.path, os.O_RDONLY | safe)
        if hasattr(os, "fchmod"):
            with contextlib.suppress(PermissionError):
                os.fchmod(fd, 0o644)  # whatever the umask says
        return fd


def exhausted(error: BaseException, device: str) -> str | None:
    """Return the device whose memory did not suffice, where that is what an error says.

    Parameters
    ----------
    device : str
        The one that the module computes on; its libraries also need the computer's own memory.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    text = str(error)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:  # of torch
        return CPU
    full = "XlaRuntimeError" in names and "RESOURCE_EXHAUSTED" in text
    return device if full or names & _OUT_OF_MEMORY or _TEXTS.search(text) else None


def memory(device: str) -> dict[str, int]:
    """Return ``free_bytes`` and ``total_bytes`` of a GPU; empty where nobody can tell."""
    number = re.fullmatch(r"cuda:(\d+)", device)
    if number is None:
        return {}
    for ask in (_torch_memory, _driver_memory):
        with contextlib.suppress(Exception):  # a broken driver has many ways to fail
            free, total = ask(int(number[1]))
            return {"free_bytes": int(free), "total_bytes": int(total)}
    return {}


def _torch_memory(number: int) -> tuple[int, int]:
    torch: Any = sys.modules["torch"]  # only where the module has loaded it
    free, total = torch.cuda.mem_get_info(number)
    return free, total


def _driver_memory(number: int) -> tuple[int, int]:
    pynvml: Any = importlib.import_module("pynvml")  # where the module's environment has it
    pynvml.nvmlInit()
    try:
        told = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(number))
        return told.free, told.total
    finally:
        pynvml.nvmlShutdown()


def give_back() -> None:
    """After a failure, return what torch keeps in reserve, so that others can have it."""
    torch: Any = sys.modules.get("torch")
    with contextlib.suppress(Exception):
        if torch and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
