"""The Python of the tests as an archive, as its publishers make them; and archives of traps."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
# What a worker has no use for, and what takes long to pack.
_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "turtledemo",
}


def pack(folder: Path) -> tuple[Path, str]:
    """Pack the Python below that of the tests, with a link and a header; return its sha256 too."""
    base = Path(sys.base_prefix)
    windows = sys.platform == "win32"
    path = folder / ("python.zip" if windows else "python.tar.gz")
    if windows:
        _zip(base, path)
    else:
        _tar(base, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def _zip(base: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for file in sorted(base.rglob("*")):
            if file.is_file() and not _LEFT_OUT.intersection(file.parts):
                packed.write(file, Path("python") / file.relative_to(base))


def _tar(base: Path, path: Path) -> None:
    library = base / "lib" / f"python{VERSION}"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for file in sorted(library.rglob("*")):
            unused = _LEFT_OUT.intersection(file.parts) or "config-" in str(file)
            if file.is_file() and not unused:
                tar.add(file, f"python/{file.relative_to(base)}")
        for file in base.glob(f"lib/libpython{VERSION}.so.*"):
            tar.add(file, f"python/lib/{file.name}")
        tar.add((base / "bin" / f"python{VERSION}").resolve(), f"python/bin/python{VERSION}")
        _add(tar, "python/include/patchlevel.h", b"/* for compilers */")
        link = tarfile.TarInfo("python/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, f"python{VERSION}"
        tar.addfile(link)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


# ---- small ones, that are not run ---------------------------------------------------------------

ELF = b"\x7fELF\x02\x01" + bytes(12) + b"\x3e\0" + bytes(40)
PE = b"MZ" + bytes(0x3A) + b"\x80\0\0\0" + bytes(0x40) + b"PE\0\0\x64\x86" + bytes(40)
LINUX = {"python/bin/python3.12": ELF, "python/lib/python3.12/os.py": b"# os"}
WINDOWS = {"python/python.exe": PE, "python/python312.dll": PE, "python/Lib/os.py": b"# os"}


def tar_of(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    """Write a tar with these files, and with members that hold nothing."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            _add(tar, name, content)
        for member in more:
            tar.addfile(member)
    return path


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    """Write a zip with these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path
