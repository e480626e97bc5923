"""The permissions of Windows: who may do what with a file, read and set through ``advapi32``.

An owner or an account is a SID, such as S-1-5-32-545 for all users of the computer: the same in
every language of Windows.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ga3_nodes import owners

# The well-known SIDs of those who may read: all users, everyone, who has logged on.
USERS, _EVERYONE, _LOGGED_ON = "S-1-5-32-545", "S-1-1-0", "S-1-5-11"
_CREATOR = "S-1-3-0"  # stands for whoever makes a file: counts for what is made, not for this one
# [MS-DTYP] 2.4.3, access masks of files: to write, append, write extended attributes, delete what
# lies in a folder, delete, change the list, become the owner; and all, or all writing.
_WRITES = 0x2 | 0x4 | 0x10 | 0x40 | 0x10000 | 0x40000 | 0x80000 | 0x10000000 | 0x40000000
_READS = 0x1 | 0x20  # to read and to execute, which is to pass through a folder
_GENERIC_ALL, _GENERIC_READ, _GENERIC_EXECUTE = 0x10000000, 0x80000000, 0x20000000
_ALLOWED, _DENIED = 0, 1  # types of entries: ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE
_INHERIT_ONLY = 0x8
_FILE_OBJECT, _OWNER, _LIST = 1, 1, 4  # SE_FILE_OBJECT, OWNER_ and DACL_SECURITY_INFORMATION
_PROTECTED, _UNPROTECTED = 0x80000000, 0x20000000
# What `icacls ROOT /inheritance:r /grant:r` sets in docs/deployment.md, in Windows' own words
# (SDDL): administrators and the system all, users read and execute, also what is made below.
CLOSED = "O:BAD:PAI(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;0x1200a9;;;BU)"
_OPEN = "O:BAD:AI"  # nothing of its own: what the folder above says counts


@dataclass(frozen=True)
class Rights:
    """What counts of a file's permissions.

    `writers` are the SIDs of those who may change it and are no administrators; `readable` tells
    whether all users may read it.
    """

    owner: str
    writers: tuple[str, ...]
    readable: bool


def read(path: Path) -> Rights | None:
    """Return the permissions of a file; None where Windows does not tell them."""
    if sys.platform != "win32":
        return None
    entries, security = ctypes.c_void_p(), ctypes.c_void_p()
    out = (None, None, ctypes.byref(entries), None, ctypes.byref(security))
    name = ctypes.c_wchar_p(str(path))
    if _library().GetNamedSecurityInfoW(name, _FILE_OBJECT, _LIST, *out):
        return None
    try:
        if not entries.value:  # no list at all: everybody may do everything
            return Rights(owners.owner(path), (_EVERYONE,), readable=True)
        return rights(owners.owner(path), list(_entries(entries)))
    finally:
        owners.free(security)


def rights(owner: str, entries: list[tuple[int, int, str]]) -> Rights:
    """Return what entries amount to; each is its type, its mask and its SID.

    A mask may be in general words (GENERIC_READ), which stand for the ones of files.
    """
    allowed = [(mask, sid) for kind, mask, sid in entries if kind == _ALLOWED]
    denied = {sid for kind, mask, sid in entries if kind == _DENIED and mask & _READS}
    writers = [
        sid
        for mask, sid in allowed
        if mask & _WRITES and not owners.is_administrator(sid) and sid != _CREATOR
    ]
    readers = {sid for mask, sid in allowed if _reads(mask)}
    readable = bool(readers & {USERS, _EVERYONE, _LOGGED_ON}) and not denied & readers
    return Rights(owner, tuple(dict.fromkeys(writers)), readable)


def _reads(mask: int) -> bool:
    generic = mask & _GENERIC_READ and mask & _GENERIC_EXECUTE
    return mask & _READS == _READS or bool(mask & _GENERIC_ALL or generic)


def _entries(place: ctypes.c_void_p) -> Iterator[tuple[int, int, str]]:
    """Read a list of permissions: of each entry its type, its mask and its SID as text."""
    if sys.platform != "win32":
        return
    library = _library()
    address = place.value or 0
    count = ctypes.c_uint16.from_address(address + 4).value  # ACL.AceCount
    for number in range(count):
        entry, text = ctypes.c_void_p(), ctypes.c_wchar_p()
        if not library.GetAce(place, number, ctypes.byref(entry)) or not entry.value:
            continue
        kind, flags = ctypes.string_at(entry.value, 2)
        if kind not in (_ALLOWED, _DENIED) or flags & _INHERIT_ONLY:
            continue
        mask = ctypes.c_uint32.from_address(entry.value + 4).value
        if library.ConvertSidToStringSidW(ctypes.c_void_p(entry.value + 8), ctypes.byref(text)):
            yield kind, mask, text.value or ""
            owners.free(text)


def close(folder: Path) -> None:
    """Let only administrators write a folder and what will be made in it, and all users read it.

    Raises
    ------
    OSError
        Windows refuses.
    """
    _set(folder, CLOSED, _PROTECTED)


def inherit(path: Path) -> None:
    """Give a file or folder the permissions of the folder that it lies in, and that owner.

    Raises
    ------
    OSError
        Windows refuses.
    """
    _set(path, _OPEN, _UNPROTECTED)


def _set(path: Path, words: str, protection: int) -> None:
    if sys.platform != "win32":
        raise NotImplementedError
    library, security = _library(), ctypes.c_void_p()
    make = library.ConvertStringSecurityDescriptorToSecurityDescriptorW
    if not make(ctypes.c_wchar_p(words), 1, ctypes.byref(security), None):
        raise ctypes.WinError()
    try:
        owner, entries, flag = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
        library.GetSecurityDescriptorOwner(security, ctypes.byref(owner), ctypes.byref(flag))
        out = (ctypes.byref(flag), ctypes.byref(entries), ctypes.byref(ctypes.c_int()))
        library.GetSecurityDescriptorDacl(security, *out)
        name = ctypes.c_wchar_p(str(path))
        wanted = _OWNER | _LIST | protection
        code = library.SetNamedSecurityInfoW(name, _FILE_OBJECT, wanted, owner, None, entries, None)
        if code:
            raise ctypes.WinError(code)
    finally:
        owners.free(security)


def _library() -> Any:
    """Return ``advapi32``, whose pointers do not fit into the numbers that ctypes expects."""
    if sys.platform != "win32":
        raise NotImplementedError
    library = ctypes.WinDLL("advapi32")
    pointer, number = ctypes.c_void_p, ctypes.c_uint32
    library.GetAce.argtypes = [pointer, number, pointer]
    library.ConvertSidToStringSidW.argtypes = [pointer, pointer]
    library.SetNamedSecurityInfoW.argtypes = [
        ctypes.c_wchar_p,
        number,
        number,
        *[pointer] * 4,
    ]
    return library
