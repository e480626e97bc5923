"""What the checklist asks Windows about, and the places of NIS-Elements and its environments.

Facts only: `doctor` makes sentences of them. Nothing here writes.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

IS_WINDOWS = sys.platform == "win32"
_VENDOR = Path("Laboratory Imaging")
_LONG_PATHS = r"SYSTEM\CurrentControlSet\Control\FileSystem"
_VC_RUNTIME = r"SOFTWARE\Microsoft\VisualStudio\14.0\VC\Runtimes\x64"
_REMOTE_DRIVE = 4


@dataclass(frozen=True)
class Nis:
    """An installation of NIS-Elements; `version` is empty where it cannot be read."""

    folder: Path
    version: str
    has_python: bool


def long_paths_enabled() -> bool:
    """Tell whether programs may use paths of more than 260 characters."""
    return _registry(_LONG_PATHS, "LongPathsEnabled") == 1


def vc_runtime() -> tuple[int, int] | None:
    """Return the version of the Microsoft Visual C++ runtime, or None where it is missing."""
    if _registry(_VC_RUNTIME, "Installed") != 1:
        return None
    major, minor = _registry(_VC_RUNTIME, "Major"), _registry(_VC_RUNTIME, "Minor")
    return int(major or 0), int(minor or 0)


def _registry(key: str, name: str) -> int | None:
    """Return a number below HKEY_LOCAL_MACHINE, or None where it is missing."""
    if sys.platform != "win32":
        return None
    import winreg

    access = winreg.KEY_READ | winreg.KEY_WOW64_64KEY
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, access) as opened:
            value, _ = winreg.QueryValueEx(opened, name)
    except OSError:
        return None
    return value if isinstance(value, int) else None


def volume(path: Path) -> tuple[str, bool]:
    """Return the file system of the volume of `path` (empty where unknown), and if it is remote."""
    if sys.platform != "win32":
        return "", False
    kernel = ctypes.windll.kernel32
    root, name = ctypes.create_unicode_buffer(1024), ctypes.create_unicode_buffer(64)
    if not kernel.GetVolumePathNameW(str(path), root, len(root)):
        return "", str(path).startswith("\\\\")
    kernel.GetVolumeInformationW(root, None, 0, None, None, None, name, len(name))
    return name.value, kernel.GetDriveTypeW(root) == _REMOTE_DRIVE


def nis_installations() -> list[Nis]:
    """Return the installations of NIS-Elements on this computer."""
    return [
        Nis(folder, _file_version(folder / "nis_ar.exe"), (folder / "Python").is_dir())
        for folder in _program_folders()
        if (folder / "nis_ar.exe").is_file()
    ]


def _program_folders() -> list[Path]:
    programs = os.environ.get("PROGRAMFILES")
    return sorted(Path(programs).glob("NIS-E*")) if programs else []


def _file_version(program: Path) -> str:
    """Return the version in a program's resources."""
    if sys.platform != "win32":
        return ""
    library = ctypes.windll.version
    size = library.GetFileVersionInfoSizeW(str(program), None)
    buffer = ctypes.create_string_buffer(size)
    if not size or not library.GetFileVersionInfoW(str(program), 0, size, buffer):
        return ""
    place, length = ctypes.c_void_p(), ctypes.c_uint()
    if not library.VerQueryValueW(buffer, "\\", ctypes.byref(place), ctypes.byref(length)):
        return ""
    # VS_FIXEDFILEINFO: a signature, its own version, then the file's version in two words.
    high, low = struct.unpack_from("<2I", ctypes.string_at(place.value or 0, length.value), 8)
    return f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}"


def vendor_environments() -> list[Path]:
    """Return the Python environments that NIS-Elements manages, then its cache of packages."""
    found: list[Path] = []
    chosen = os.environ.get("LIM_PYTHON_ENVS_PREFIX")
    shared = os.environ.get("PROGRAMDATA")
    if base := chosen or shared:
        place = Path(base) / _VENDOR / "NIS-Elements" / "PythonEnvs"
        for pattern in ("v*/System/*", "v*/Users/*/*"):
            found += sorted(place.glob(pattern))
    for folder in _program_folders():
        found += sorted((folder / "PythonEnvs").glob("*"))  # NIS-Express
    if cache := os.environ.get("LIM_MAMBA_ROOT"):
        found.append(Path(cache))
    elif shared:
        found.append(Path(shared) / _VENDOR / "MambaRoot")
    return [folder for folder in found if folder.is_dir()]
