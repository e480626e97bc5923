"""Makes the file of a module of the user's own: its files, and weights that were chosen by name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date as day
from pathlib import Path

from envmanager.data import files, settings
from envmanager.data.paths import SHIPPED_MODULES, DataFolder
from envmanager.environments import generations
from envmanager.errors import BadInput, GA3EnvError, UnknownModule
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.fetching.hashing import hash_of
from envmanager.modules import catalog, checking
from envmanager.modules.catalog import Module
from envmanager.sharing import sealed
from envmanager.sharing.package import MODULE, SUFFIX, WEIGHTS, Manifest
from envmanager.sharing.sealed import is_line
from envmanager.sharing.shared_sets import Present, present
from envmanager.weights.store import Store
from ga3_nodes import __version__

ALL = "all"  # in the place of names: every set that is present
# The guide, and what says who may use it and whom to cite: of all other files only these go along,
# for images, notebooks and tables of a lab are not meant for others.
_PAPERS = ("*.md", "LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "CITATION*")


@dataclass(frozen=True)
class Exported:
    """A module's file; `left_out` are names in the module's folder that did not go along."""

    path: Path
    size: int
    manifest: Manifest
    left_out: tuple[str, ...]


def default_name(module: Module) -> str:
    """Return the usual name of a module's file."""
    return f"{module.name}-{module.version}{SUFFIX}"


def export(
    data: DataFolder,
    name: str,
    target: Path,
    *,
    author: str,
    weights: Sequence[str] = (),
    date: str = "",
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> Exported:
    """Write a module of the user's as one file.

    Equal contents, author and day make equal bytes.

    Parameters
    ----------
    target : Path
        The file, which is replaced, or a folder for a file of the usual name.
    author : str
        Whom to ask; stands in the file.
    weights : sequence of str
        Names of present sets that go along, or `ALL`.
    date : str
        ``YYYY-MM-DD``; by default today.

    Raises
    ------
    UnknownModule
        The user has no module of that name.
    CatalogError
        The module is broken: it would be refused where it is added.
    BadInput
        There is no author, or weights are missing or damaged.
    """
    module, author = _own(data, name), author.strip()
    _refuse_author(author)
    is_folder = os.path.isdir(target)  # noqa: PTH112 - also where it may not be looked at
    path = target / default_name(module) if is_folder else target
    files.refuse_place(path, default_name(module))
    report(Stage("export", f"Writing {path.name}"))
    names = contents(module.folder)
    texts = {found: (module.folder / found).read_bytes() for found in names}
    chosen = _chosen(Store(data, module), weights)
    manifest = Manifest(
        module=module.name,
        version=module.version,
        author=author,
        date=date or day.today().isoformat(),
        app_version=__version__,
        files={found: hash_of(text) for found, text in texts.items()},
        weights=tuple(found.one for found in chosen),
    )
    _write(path, manifest, texts, chosen, report, cancel)
    left_out = sorted(p.name for p in module.folder.iterdir() if p.name not in names)
    return Exported(path, path.stat().st_size, manifest, tuple(left_out))


def remember(data: DataFolder, author: str) -> None:
    """Keep the author for the next export; where that cannot be, it is asked for again."""
    with contextlib.suppress(GA3EnvError, OSError):
        settings.change(data.settings, "author", [author])


def contents(folder: Path) -> list[str]:
    """Return the names of a module's files that are handed on."""
    papers = {path.name for pattern in _PAPERS for path in folder.glob(pattern) if path.is_file()}
    return sorted({*generations.copied(folder), *papers})


def _own(data: DataFolder, name: str) -> Module:
    module = catalog.find(name, data)
    if module.folder.parent == SHIPPED_MODULES:
        raise UnknownModule(
            f"{name!r} comes with the app: everybody who has the app has it.",
            "Export a module of your own. Weights are handed on as files: ./run weights M list",
        )
    return checking.check(module.folder)


def _refuse_author(author: str) -> None:
    if not author or not is_line(author):
        raise BadInput(
            "The file needs the name of its author: one line of text.",
            'Whoever gets it wants to know whom to ask: --author "Ada Lovelace, Imaging Lab"',
            code="no_author",
        )


def _chosen(store: Store, names: Sequence[str]) -> list[Present]:
    """Return the sets of these names, the account's own and those of all accounts."""
    wanted = sorted(store.names()) if ALL in names else list(dict.fromkeys(names))
    return [present(store, name) for name in wanted]


def _write(
    path: Path,
    manifest: Manifest,
    texts: dict[str, bytes],
    chosen: Sequence[Present],
    report: Report,
    cancel: CancelToken | None,
) -> None:
    small = {f"{MODULE}{name}": texts[name] for name in sorted(texts)}
    places = {name: place for found in chosen for name, place in found.places.items()}
    large = {f"{WEIGHTS}{name}": places[name] for name in sorted(places)}
    again = f"Get or import it again: ./run weights {manifest.module} verify --full"
    sealed.write(path, manifest, small, large, again, report, cancel)
