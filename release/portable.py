"""The portable ZIP: the same bytes for the same files."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

from release.contents import listed

TOP = "GA3EnvManager"  # the one folder in it
_PACKED = (".whl", ".png")  # packing these again gains nothing
_REGULAR_FILE = 0o100644 << 16


def write(stage: Path, target: Path, epoch: int, *, quick: bool = False) -> None:
    """Pack a folder: sorted, one time for all files, no owners."""
    moment, level = time.gmtime(epoch)[:6], 1 if quick else 9
    with zipfile.ZipFile(target, "w") as archive:
        for name in listed(stage):
            entry = zipfile.ZipInfo(f"{TOP}/{name}", moment)
            entry.external_attr, entry.create_system = _REGULAR_FILE, 3
            packed = name.endswith(_PACKED)
            entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            archive.writestr(entry, (stage / name).read_bytes(), compresslevel=level)
