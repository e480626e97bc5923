"""Programs in the environments of a moved data folder: they name their interpreter by its path."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from envmanager.data.paths import venv_packages

_LONGEST = 1 << 18  # bytes; what is longer is no script


def mend(source: Path, target: Path) -> None:
    """Let the scripts of the environments in `target` name it where they name `source`.

    Each is replaced, since it may share its bytes with the one in `source`; the lists of the
    packages' files (``RECORD``) tell the new ones. Programs of Windows stay as they are.
    """
    names = dict.fromkeys((str(source), str(source.resolve())))
    for venv in target.glob("envs/*/*/.venv"):
        changed = {
            path.resolve(): content
            for path in _files(venv)
            if (content := _mended(path, [name.encode() for name in names], str(target).encode()))
        }
        for path, content in changed.items():
            _replace(path, content)
        if changed:
            for record in venv_packages(venv).glob("*.dist-info/RECORD"):
                _note(record, changed)


def _files(venv: Path) -> Iterator[Path]:
    for folder in ("bin", "Scripts"):
        for path in sorted((venv / folder).glob("*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LONGEST:
                yield path


def _mended(path: Path, old: list[bytes], new: bytes) -> bytes | None:
    """Return the new content of a script; None where there is nothing to change."""
    before = content = path.read_bytes()
    if b"\0" in content:
        return None
    for name in old:
        for separator in (b"/", b"\\"):
            content = content.replace(name + separator, new + separator)
    return content if content != before else None


def _note(record: Path, changed: dict[Path, bytes]) -> None:
    """Write the hashes and sizes of changed files into a package's list."""
    rows = list(csv.reader(record.read_text("utf-8").splitlines()))
    told = False
    for row in rows:
        if len(row) != 3 or not row[1].startswith("sha256="):
            continue
        path = Path(os.path.normpath(record.parent.parent / row[0]))
        if path.parent.name in ("bin", "Scripts") and (content := changed.get(path.resolve())):
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            row[1:] = [f"sha256={digest.decode()}", str(len(content))]
            told = True
    if told:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        _replace(record, text.getvalue().encode())


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.moved")
    beside.write_bytes(content)
    shutil.copystat(path, beside)
    beside.replace(path)
