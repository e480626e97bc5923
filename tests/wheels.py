"""Wheels that the tests make: tiny ones of their own, and ones packed again from what is installed.

A module whose packages all come from such wheels needs no registry.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import random
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

# Tests, programs, what compilers and type checkers read: half of all files.
_LEFT_OUT = re.compile(
    r"(^|/)(tests|__pycache__|f2py|include|_examples|_pyinstaller)/|^\.\.|\.(pyi|a|pxd)$"
    r"|\.dist-info/(RECORD|INSTALLER|REQ)"
)
_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes | str],
    *,
    requires: Iterable[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """Write a wheel with these files, metadata and a valid ``RECORD``; return its path."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {required}\n" for required in requires)
    stem = f"{name.replace('-', '_')}-{version}"
    wheel = _WHEEL.format(pure=str(tag.endswith("-none-any")).lower(), tag=tag)
    contents = {path: _bytes(content) for path, content in files.items()}
    contents[f"{stem}.dist-info/METADATA"] = _bytes(metadata)
    contents[f"{stem}.dist-info/WHEEL"] = _bytes(wheel)
    return _pack(folder / f"{stem}-{tag}.whl", contents, f"{stem}.dist-info/RECORD")


def repack(site_packages: Path, name: str, folder: Path) -> Path:
    """Pack an installed package into a wheel again, without what only its developers use.

    Its sha256 is another than the registry's: a lock needs `requirement` of the new file.
    """
    (info,) = site_packages.glob(f"{name}-*.dist-info")
    with (info / "RECORD").open(encoding="utf-8", newline="") as file:
        names = [row[0] for row in csv.reader(file)]
    contents = {n: (site_packages / n).read_bytes() for n in names if not _LEFT_OUT.search(n)}
    tags = re.findall(r"^Tag: (\S+)$", (info / "WHEEL").read_text("utf-8"), re.MULTILINE)
    path = folder / f"{info.name.removesuffix('.dist-info')}-{_compressed(tags)}.whl"
    return _pack(path, contents, f"{info.name}/RECORD")


def requirement(*wheels: Path) -> str:
    """Return the lines of a ``requirements.lock`` that pin exactly these wheels."""
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name.replace('_', '-')}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(sorted(lines))


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that do not compress, always the same ones."""
    return random.Random(seed).randbytes(size)


def _pack(path: Path, contents: Mapping[str, bytes], record: str) -> Path:
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            writer.writerow([name, f"sha256={digest.decode()}", len(content)])
            _write(archive, name, content)
        writer.writerow([record, "", ""])
        _write(archive, record, rows.getvalue().encode())
    return path


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # A fixed date and mode: the same contents make the same bytes, and so the same sha256.
    entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _compressed(tags: list[str]) -> str:
    """Return the tag of a file name for all tags of a wheel (PEP 425's compressed sets)."""
    parts = zip(*(tag.split("-") for tag in tags), strict=True)
    return "-".join(".".join(dict.fromkeys(part)) for part in parts)


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content
