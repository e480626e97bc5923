"""The weights of modules when those become the computer's: an account keeps what it imported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from envmanager.data import files
from envmanager.data.paths import DataFolder
from envmanager.moving import standstill
from ga3_nodes.weights import CUSTOM, LISTING, WEIGHTS

_BEGUN = (".part", ".part.json")  # downloads that broke off


def stays(parts: Sequence[str]) -> bool:
    """Tell whether something in the folder of a module's weights is the account's own.

    Parameters
    ----------
    parts : sequence of str
        Its path from there.
    """
    return bool(parts) and (parts[0] in (CUSTOM, LISTING) or parts[0].endswith(_BEGUN))


def has_own(data: DataFolder) -> bool:
    """Tell whether an account has imported weights."""
    return any(_sets(content, custom=True) for _, content in _listings(data))


def hand_over(source: DataFolder, target: DataFolder) -> None:
    """List in the new folder what was copied there."""
    for folder, content in _listings(source):
        shared = {**content, "sets": _sets(content, custom=False)}
        if shared["sets"] or shared.get("trusted"):
            _write(target.root / WEIGHTS / folder.name, shared)


def withdraw(source: DataFolder) -> None:
    """Delete what all accounts have now; what the account imported stays."""
    for folder, content in list(_listings(source)):
        own = _sets(content, custom=True)
        if own:
            _write(folder, {**content, "sets": own})
        for path in list(folder.iterdir()):
            if not (own and stays([path.name])):
                standstill.delete(path)
        if not own:
            folder.rmdir()


def _listings(data: DataFolder) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folders of modules with weights, and what is listed there."""
    for listing in sorted((data.root / WEIGHTS).glob(f"*/{LISTING}")):
        yield listing.parent, json.loads(listing.read_text("utf-8"))


def _sets(content: dict[str, Any], *, custom: bool) -> dict[str, Any]:
    sets = content["sets"]
    return {name: one for name, one in sets.items() if bool(one.get("custom")) is custom}


def _write(folder: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    files.write_text(folder / LISTING, text)
