"""What a bundle is made of: for each module its packages for the other computer, and weights."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envmanager.bundles import pylocks
from envmanager.bundles.target import Target
from envmanager.data.paths import base_python
from envmanager.data.settings import Settings
from envmanager.environments import planning
from envmanager.errors import BadInput
from envmanager.events import CancelToken, Report
from envmanager.modules.catalog import Module
from envmanager.packages import resolution
from envmanager.packages.backends import AUTO
from envmanager.packages.lockfile import Wheel
from envmanager.sharing.shared_sets import Present, SharedSet, present
from envmanager.uv.program import Uv
from envmanager.weights.getting import Getter
from envmanager.weights.store import Store

ALL = "all"  # in the place of names of weights: every known set, and those of the user's own


@dataclass(frozen=True)
class Packages:
    """The packages of a module for the other computer.

    Attributes
    ----------
    backend : str
        The build of torch; empty where the module has none.
    pylock : str
        The text of the ``pylock.toml`` that travels.
    here : dict of Path
        Files of wheels that lie on a disk of ours, by package.
    """

    backend: str
    pylock: str
    wheels: list[Wheel]
    here: dict[str, Path] = field(default_factory=dict)


def packages(uv: Uv, module: Module, target: Target, backend: str) -> Packages:
    """Look up the packages of a module for another computer; nothing is downloaded.

    Parameters
    ----------
    uv : Uv
        Resolves for the other computer.
    backend : str
        The build of torch for modules that have one; may be empty for the others.

    Raises
    ------
    BadInput
        The module has torch, and no backend is named; or there is no such backend.
    GA3EnvError
        No network, an altered lock, a package without a wheel for that computer.
    """
    offered = resolution.offered(module.lock)
    if offered and backend not in offered:
        raise BadInput(
            f"{module.name} computes with torch: say for which device the bundle is"
            + (f", {backend!r} is none." if backend else "."),
            f"--backend cpu for any computer, or one for NVIDIA GPUs: {', '.join(offered[1:])}",
            code="backend_needed",
        )
    with tempfile.TemporaryDirectory(prefix="ga3-bundle-") as place:
        folder, wanted = Path(place), backend if offered else AUTO
        found = planning.resolve_aside(module, uv, base_python(), folder, backend=wanted)
        local = {w.package: pylocks.local_file(w, folder) for w in found.wheels}
        here = {package: path for package, path in local.items() if path is not None}
        text = pylocks.travelling(folder / "pylock.toml", found.wheels)
    return Packages(backend if offered else "", text, found.wheels, here)


# ---- weights ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """The chosen sets of one module."""

    module: Module
    chosen: tuple[Present, ...] = ()

    @property
    def sets(self) -> tuple[SharedSet, ...]:
        """What the manifest says of them."""
        return tuple(found.one for found in self.chosen)

    @property
    def licenses(self) -> tuple[tuple[str, str], ...]:
        """The license of each set, by name."""
        return tuple((one.one.name, one.license) for one in self.chosen)

    @property
    def missing(self) -> list[str]:
        """The usual sets that do not go along."""
        chosen = {one.name for one in self.sets}
        usual = (known.name for known in self.module.weights.values() if known.default)
        return [name for name in usual if name not in chosen]


def refuse_unknown(stores: Sequence[Store], names: Sequence[str]) -> None:
    """Refuse names that are those of no module's weights.

    Raises
    ------
    BadInput
        The hint lists those that there are.
    """
    for name in names:
        if name != ALL and not any(name in _offered(store) for store in stores):
            known = [offered for store in stores for offered in _offered(store)]
            raise BadInput(
                f"None of the modules has weights {name!r}.",
                f"There are: {', '.join(known) or 'none'}.",
                code="weights_unknown",
            )


def weights(
    stores: Sequence[Store],
    names: Sequence[str],
    settings: Settings,
    report: Report,
    cancel: CancelToken | None,
) -> list[Weights]:
    """Return the chosen weights of modules; known ones that are not here are downloaded.

    Raises
    ------
    DownloadFailed
        They do not come.
    """
    found = []
    for store in stores:
        chosen = [name for name in _offered(store) if ALL in names or name in names]
        lacking = [name for name in chosen if not store.holder(name).is_present(name)]
        if lacking:
            Getter(store, settings, report, cancel).get(lacking)
        found.append(Weights(store.module, tuple(present(store, name) for name in chosen)))
    return found


def _offered(store: Store) -> list[str]:
    return list(dict.fromkeys([*store.module.weights, *store.names()]))
