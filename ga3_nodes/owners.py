"""Whose the machine-wide data folder is: what lies there runs in every account that uses a node.

On Windows every user may make a folder in ``%PROGRAMDATA%``, so that the first one to do so could
give code to all the others. Elsewhere only the administrator can make it, but may open it too far.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path

from ga3_nodes.errors import ConfigError

# The well-known SIDs of administrators, of the system and of Windows' own installer: [MS-DTYP]
# 2.4.2.4, and "Well-known security identifiers" in Microsoft's documentation of access control.
ADMINISTRATORS, SYSTEM = "S-1-5-32-544", "S-1-5-18"
INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
_BUILT_IN = "-500"  # the end of the SID of the administrator's account that Windows comes with
_FILE_OBJECT, _OWNER_INFORMATION = 1, 1  # SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION
_TOKEN_QUERY, _TOKEN_USER = 8, 1  # the right to ask, TOKEN_INFORMATION_CLASS.TokenUser

_found_safe: set[tuple[Path, int]] = set()  # by folder and inode: a replaced one is asked again


def refuse_unsafe(root: Path) -> None:
    """Raise ConfigError where the machine-wide data folder may hold code of anybody.

    Raises
    ------
    ConfigError
        The code is ``root_unsafe``.
    """
    try:
        state = root.stat()
    except OSError:
        return  # nothing is there to be run
    if sys.platform != "win32":
        reason = "every account may write there" if state.st_mode & stat.S_IWOTH else ""
    elif (root, state.st_ino) in _found_safe:
        return
    else:
        reason = _foreign_owner(root)
    if reason:
        raise ConfigError(
            f"The data folder {root} for all accounts is not used: {reason}, so that its code may "
            "be anybody's.",
            "Ask an administrator to look at it, and to mend it with ./run doctor --fix.",
            code="root_unsafe",
        )
    _found_safe.add((root, state.st_ino))


def _foreign_owner(root: Path) -> str:
    """Return what is wrong with the owner on Windows; nothing where it cannot be asked."""
    sid = owner(root)
    if not sid or is_administrator(sid) or sid == mine():
        return ""
    return f"it belongs to an account that is no administrator ({sid})"


def is_administrator(sid: str) -> bool:
    """Tell whether a SID is that of administrators or of Windows itself."""
    return sid in (ADMINISTRATORS, SYSTEM, INSTALLER) or (
        sid.startswith("S-1-5-21-") and sid.endswith(_BUILT_IN)
    )


def owner(path: Path) -> str:
    """Return the SID of a file's owner as text; empty elsewhere, or where Windows does not tell."""
    if sys.platform != "win32":
        return ""
    security, sid = ctypes.c_void_p(), ctypes.c_void_p()
    library = ctypes.WinDLL("advapi32")
    kind, wanted = _FILE_OBJECT, _OWNER_INFORMATION
    out = (ctypes.byref(sid), None, None, None, ctypes.byref(security))
    if library.GetNamedSecurityInfoW(ctypes.c_wchar_p(str(path)), kind, wanted, *out):
        return ""
    try:
        return _text(sid)
    finally:
        free(security)


def mine() -> str:
    """Return the SID of the account of this process; empty elsewhere than on Windows."""
    if sys.platform != "win32":
        return ""
    kernel, library = ctypes.WinDLL("kernel32"), ctypes.WinDLL("advapi32")
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    process, token = ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.c_void_p()
    if not library.OpenProcessToken(process, _TOKEN_QUERY, ctypes.byref(token)):
        return ""
    try:
        told, size = ctypes.create_string_buffer(256), ctypes.c_uint32()
        wanted = (_TOKEN_USER, told, len(told), ctypes.byref(size))
        if not library.GetTokenInformation(token, *wanted):
            return ""
        return _text(ctypes.c_void_p.from_buffer(told))  # SID_AND_ATTRIBUTES begins with the SID
    finally:
        kernel.CloseHandle(token)


def _text(sid: ctypes.c_void_p) -> str:
    """Return a SID of Windows as text."""
    if sys.platform != "win32":
        return ""
    text = ctypes.c_wchar_p()
    if not ctypes.WinDLL("advapi32").ConvertSidToStringSidW(sid, ctypes.byref(text)):
        return ""
    try:
        return text.value or ""
    finally:
        free(text)


def is_elevated() -> bool:
    """Tell whether this process may change what belongs to all accounts of the computer."""
    if sys.platform == "win32":
        return bool(ctypes.windll.shell32.IsUserAnAdmin())
    return os.geteuid() == 0


def free(memory: ctypes.c_void_p | ctypes.c_wchar_p) -> None:
    """Give back what Windows has allocated for an answer."""
    if sys.platform == "win32":
        local_free = ctypes.WinDLL("kernel32").LocalFree
        local_free.argtypes, local_free.restype = [ctypes.c_void_p], ctypes.c_void_p
        local_free(memory)
