"""What differs between two generations of a module: packages, versions, files, device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager.data.paths import DataFolder
from envmanager.environments import inventory
from envmanager.packages import lockfile

# What of a manifest is compared, with the word for people. `uv` and `app_version` are told too:
# they built the environment, though no result depends on them.
_FACTS = {
    "version": "version",
    "python": "Python",
    "backend": "backend",
    "device": "device",
    "app_version": "app",
    "uv": "uv",
}
_WORKER, _LOCK = "worker.py", "requirements.lock"
# Of the generation's own: what each install resolves and makes anew.
_MADE = ("pylock.toml", "module.json")


@dataclass(frozen=True)
class Comparison:
    """What changed from one generation (`old`) to another (`new`).

    Attributes
    ----------
    facts : list of dict
        ``fact``, ``old`` and ``new``: version of the module, Python, backend, device, app, uv.
    packages : list of dict
        ``package``, ``old`` and ``new`` versions; None where it is not there.
    rebuilt : list of str
        Packages of the same version whose file has other bytes.
    files : list of dict
        ``file`` of the module, and ``change``: changed, added or removed.
    worker_changed, lock_changed : bool
        Whether ``worker.py`` and ``requirements.lock`` are others.
    """

    module: str
    old: int
    new: int
    facts: list[dict[str, str]]
    packages: list[dict[str, str | None]]
    rebuilt: list[str]
    files: list[dict[str, str]]

    @property
    def worker_changed(self) -> bool:
        """Whether the code that computes is another."""
        return any(found["file"] == _WORKER for found in self.files)

    @property
    def lock_changed(self) -> bool:
        """Whether the packages were pinned anew."""
        return any(found["file"] == _LOCK for found in self.files)

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.facts or self.packages or self.rebuilt or self.files)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        changed = {"worker_changed": self.worker_changed, "lock_changed": self.lock_changed}
        return {**asdict(self), **changed, "same": self.same}


def compare(data: DataFolder, name: str, old: int, new: int | None = None) -> Comparison:
    """Compare two generations; `new` is the published one by default.

    Raises
    ------
    NotInstalled
        There is no such generation, or it is not complete.
    """
    if new is None:
        new = inventory.installed(data, name)[0].generation
    elif not inventory.numbers(data, name):
        inventory.installed(data, name)  # the better of two errors
    before, after = (inventory.manifest_of(data, name, number) for number in (old, new))
    return Comparison(
        module=name,
        old=old,
        new=new,
        facts=_facts(before, after),
        packages=_packages(before, after),
        rebuilt=_rebuilt(data.generation(name, old), data.generation(name, new)),
        files=_files(before.get("files", {}), after.get("files", {})),
    )


def _facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, str]]:
    pairs = ((word, before.get(key) or "", after.get(key) or "") for key, word in _FACTS.items())
    return [{"fact": w, "old": str(old), "new": str(new)} for w, old, new in pairs if old != new]


def _packages(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, str | None]]:
    old, new = dict(before.get("packages", {})), dict(after.get("packages", {}))
    return [
        {"package": package, "old": old.get(package), "new": new.get(package)}
        for package in sorted({*old, *new})
        if old.get(package) != new.get(package)
    ]


def _rebuilt(before: Path, after: Path) -> list[str]:
    """Return the packages of one version with none of the files of before: a build exchanged."""
    old, new = _sums(before), _sums(after)
    both = old.keys() & new.keys()
    return sorted(package for package, v in both if old[package, v].isdisjoint(new[package, v]))


def _sums(folder: Path) -> dict[tuple[str, str], set[str]]:
    try:
        found = lockfile.wheels(folder / "pylock.toml")
    except (OSError, ValueError, LookupError):  # damaged: `verify` tells of it
        return {}
    # Beside its wheel a package lists its sources, which are never installed.
    return {
        (w.package, w.version): {digest for address, digest in w.files if ".whl" in address}
        for w in found
    }


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, str]]:
    """Compare the copies of the module's own files."""
    found = []
    for name in sorted({*before, *after}):
        if name in _MADE or "/" in name or before.get(name) == after.get(name):
            continue
        change = "changed" if name in before and name in after else "added"
        found.append({"file": name, "change": change if name in after else "removed"})
    return found
