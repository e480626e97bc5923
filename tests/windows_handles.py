"""What shows on Windows that a process has inherited a handle: an event and a file that it keeps.

Nothing here looks into another process: a named event lives as long as any handle to it, and a
file cannot be deleted while anybody has it open.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Goes into programs too. Makes an event and opens a file so that careless children inherit both.
GRASP = """
import ctypes, msvcrt, os

class _Security(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ulong), ("of", ctypes.c_void_p), ("inherit", ctypes.c_int)]

def grasp(name, path):
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateEventW.restype = ctypes.c_void_p
    security = _Security(ctypes.sizeof(_Security), None, 1)
    event = kernel.CreateEventW(ctypes.byref(security), 1, 0, name)
    assert event, ctypes.get_last_error()
    file = open(path, "w")
    os.set_handle_inheritable(msvcrt.get_osfhandle(file.fileno()), True)

    def let_go():
        kernel.CloseHandle(ctypes.c_void_p(event))
        file.close()

    return let_go
"""


def grasp(name: str, path: Path) -> Callable[[], object]:
    """Hold an event and a file in this process; return what lets go of them."""
    names: dict[str, Any] = {}
    exec(GRASP, names)
    let_go: Callable[[], object] = names["grasp"](name, str(path))
    return let_go


def held(name: str, path: Path) -> set[str]:
    """Return which of ``event`` and ``file`` some process still holds."""
    found = set()
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenEventW.restype = ctypes.c_void_p
    if event := kernel.OpenEventW(0x100000, 0, name):  # SYNCHRONIZE
        kernel.CloseHandle(ctypes.c_void_p(event))
        found.add("event")
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except PermissionError:
        found.add("file")
    return found
