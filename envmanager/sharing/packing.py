"""Makes the file of a module of the user's own: its files, and weights that were chosen by name."""

from __future__ import annotations

import contextlib
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
from envmanager.sharing import archive, sealed, shared_sets
from envmanager.sharing.package import MODULE, SUFFIX, WEIGHTS, Manifest
from envmanager.sharing.sealed import MANIFEST, is_line
from envmanager.sharing.shared_sets import SharedSet
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
    path = target / default_name(module) if target.is_dir() else target
    report(Stage("export", f"Writing {path.name}"))
    names = contents(module.folder)
    texts = {found: (module.folder / found).read_bytes() for found in names}
    store = Store(data, module)
    manifest = Manifest(
        module=module.name,
        version=module.version,
        author=author,
        date=date or day.today().isoformat(),
        app_version=__version__,
        files={found: hash_of(text) for found, text in texts.items()},
        weights=tuple(_chosen(store, weights)),
    )
    _write(path, store, manifest, texts, report, cancel)
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


def _chosen(store: Store, names: Sequence[str]) -> list[SharedSet]:
    """Return the sets of these names, by what was recorded of their files."""
    wanted = sorted(store.entries()) if ALL in names else list(dict.fromkeys(names))
    found = []
    for name in wanted:
        entry = store.require(name)
        if problem := store.damage(entry):
            raise BadInput(
                f"The weights {name!r} are damaged: {problem}",
                f"Get or import them again: ./run weights {store.module.name} verify",
                code="weights_damaged",
            )
        found.append(shared_sets.of_entry(name, entry))
    return found


def _write(
    path: Path,
    store: Store,
    manifest: Manifest,
    texts: dict[str, bytes],
    report: Report,
    cancel: CancelToken | None,
) -> None:
    """Write the file whole; weights are compared with what was recorded as they are read."""
    small = {MANIFEST: sealed.as_bytes(manifest.as_dict())}
    small |= {f"{MODULE}{name}": texts[name] for name in sorted(texts)}
    recorded = {n: file for shared in manifest.weights for n, file in shared.files.items()}
    large = {f"{WEIGHTS}{name}": store.folder / name for name in sorted(recorded)}

    def write(place: Path) -> None:
        written = archive.write(place, small, large, report, cancel)
        for name, found in written.items():
            if found != recorded[name.removeprefix(WEIGHTS)]:
                raise BadInput(
                    f"{large[name]} has other bytes than when it came.",
                    f"Get or import it again: ./run weights {manifest.module} verify --full",
                    code="weights_damaged",
                )

    files.write_whole(path, write)
