"""Takes a user's own weights into the data folder: a trained model, or a download of another PC."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from envmanager.data import files, fulldisk
from envmanager.errors import BadInput
from envmanager.events import CancelToken, Progress, Report, Stage, ignore
from envmanager.fetching.hashing import Fetched
from envmanager.weights.store import Got, Store, size_of, today
from ga3_nodes import home
from ga3_nodes.weights import CUSTOM, valid_name

_PIECE = 1 << 22
_MOST_FILES = 10_000  # more is no set of weights, but a folder that was chosen by mistake


def add(
    store: Store,
    source: Path,
    name: str,
    *,
    note: str = "",
    replace: bool = False,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> Got:
    """Copy a file or folder to ``custom/<name>/`` and list it as a set.

    Raises
    ------
    BadInput
        The name cannot be used or is taken, or there is nothing to copy.
    DiskFull, Cancelled
        Nothing was changed.
    """
    _check_name(store, name)
    _Import(store, source.absolute(), name, cancel or CancelToken()).files()  # refuse before a wait
    with store.writing("weights", report, cancel) as report:
        if name in store.entries() and not replace:
            raise BadInput(
                f"{store.module.title} has weights {name!r} already.",
                "Choose another name, or replace them with --replace.",
                code="weights_exist",
            )
        report(Stage("import", f"Copying {source.name}"))
        importing = _Import(store, source.absolute(), name, cancel or CancelToken())
        importing.run(" ".join(note.split()), report)
        entry = store.entries()[name]
        return Got(name, str(store.folder / entry["path"]), size_of(entry), True)


def _check_name(store: Store, name: str) -> None:
    if not valid_name(name):
        raise BadInput(
            f"{name!r} cannot be the name of weights.",
            "It is made of letters (a to z), digits, _, - and ., and begins with one of the first "
            "two, such as lab_nuclei-2.",
            code="weights_name",
        )
    taken = [other for other in store.module.weights if other.lower() == name.lower()]
    taken += [n for n, e in store.entries().items() if n.lower() == name.lower() and n != name]
    by_id = not store.entries().get(name, {"custom": True})["custom"]
    if taken or by_id:
        raise BadInput(
            f"{store.module.title} has other weights of the name {name!r}.",
            "Choose another name for your own.",
            code="weights_name",
        )


@dataclass(frozen=True)
class _Import:
    """One import: copied aside, then put in place at once."""

    store: Store
    source: Path
    name: str
    cancel: CancelToken

    def files(self) -> list[tuple[Path, str]]:
        """Return what is copied, each with its place below the set's folder."""
        if self.source.is_dir():
            found = sorted(_tree(self.source))
        else:
            found = [self.source] if self.source.is_file() else []
        if not found:
            there = "holds no file" if self.source.is_dir() else "is not there"
            raise BadInput(
                f"{self.source} {there}.", "Give a file or a folder.", code="weights_not_found"
            )
        if len(found) > _MOST_FILES:
            raise BadInput(
                f"{self.source} holds more than {_MOST_FILES} files.",
                "Give the folder of the weights alone.",
                code="weights_not_found",
            )
        if not any(path.stat().st_size for path in found):
            raise BadInput(
                f"{self.source} is empty.", "Copy or export it again.", code="weights_empty"
            )
        above = self.source.parent
        return [(path, path.relative_to(above).as_posix()) for path in found]

    def run(self, note: str, report: Report) -> None:
        """Copy, put in place, and list."""
        place = self.store.folder / CUSTOM / self.name
        temporary = place.with_name(f"{self.name}.{os.getpid()}.tmp")
        trash = self.store.data.trash
        self._sweep(place.parent)
        try:
            with fulldisk.named(self.store.folder):
                copied = self._copy(temporary, report)
            files.discard(place, trash)
            home.patiently(lambda: temporary.rename(place), seconds=10.0)
        finally:
            files.discard(temporary, trash)
        self.store.put(
            self.name,
            {
                "path": f"{CUSTOM}/{self.name}/{self.source.name}",
                "files": {f"{CUSTOM}/{self.name}/{k}": asdict(v) for k, v in copied.items()},
                "custom": True,
                "note": note,
                "added": today(),
            },
        )

    def _sweep(self, custom: Path) -> None:
        """Delete what an import that was killed has left: we are the only writer."""
        for leftover in custom.glob("*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _copy(self, target: Path, report: Report) -> dict[str, Fetched]:
        listed = self.files()
        total, done = sum(path.stat().st_size for path, _ in listed), 0
        if total > fulldisk.free(self.store.folder):
            raise fulldisk.failure(self.store.folder)
        copied = {}
        for path, name in listed:
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            digest, size = hashlib.sha256(), 0
            with path.open("rb") as source, place.open("xb") as file:
                while data := source.read(_PIECE):
                    self.cancel.check()
                    digest.update(data)
                    file.write(data)
                    size += len(data)
                    report(Progress(done + size, total))
            done += size
            copied[name] = Fetched(size, digest.hexdigest())
        return copied


def _tree(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; links in it are not followed."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise BadInput(
                f"{path} is a link.",
                "Give a folder that holds the files themselves.",
                code="weights_not_found",
            )
        if path.is_file():
            yield path
