"""What an install would do, told before it begins: the sheet that a user agrees to."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from envmanager import disk
from envmanager.data.paths import DataFolder, base_python
from envmanager.data.settings import Settings
from envmanager.environments import generations, inventory, overlay
from envmanager.environments.building import Wish
from envmanager.environments.generations import read_manifest
from envmanager.events import CancelToken
from envmanager.modules import catalog
from envmanager.modules.catalog import Module
from envmanager.packages import resolution
from envmanager.packages.backends import AUTO, CPU
from envmanager.uv.program import Uv


@dataclass(frozen=True)
class InstallPlan:
    """What an install would fetch and take.

    Attributes
    ----------
    needed : bool
        Whether an install would do anything: False where the module is installed and up to date.
    python : str
        The interpreter; where `python_missing`, the version that uv would fetch as well.
    backend, why : str
        The build of torch, and why; empty for a module without torch.
    backends : list of str
        The builds of torch that can be asked for; empty for a module without torch.
    packages : list of dict
        ``package``, ``version`` and ``bytes`` (of its file; 0 where the index does not tell).
    space : Prediction
        Bytes to download and on the disk, and whether they fit.
    """

    name: str
    version: str
    needed: bool
    python: str
    python_missing: bool
    backend: str
    why: str
    packages: list[dict[str, Any]]
    space: disk.Prediction
    backends: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; those of `space` stand among the others."""
        values = asdict(self)
        del values["space"]
        return values | self.space.as_dict()


def install(
    data: DataFolder,
    settings: Settings,
    name: str,
    *,
    wish: Wish | None = None,
    cancel: CancelToken | None = None,
) -> InstallPlan:
    """Resolve what an install of a module would fetch; nothing is installed.

    Raises
    ------
    UnknownModule
        There is no such module.
    GA3EnvError
        What would keep the install from its end: no network, an altered lock, an old driver.
    """
    module = catalog.find(name, data)
    entry = inventory.usable(data, name)
    before = (read_manifest(entry.folder) if entry else None) or {}
    asked = wish or Wish()
    wish = asked.or_else(before)
    uv = Uv(data, settings, cancel)
    data.root.mkdir(parents=True, exist_ok=True)  # uv runs in it
    request = overlay.runtime(module, uv).python(wish.python)
    python = uv.find_python(request)
    with tempfile.TemporaryDirectory(prefix="ga3-plan-") as folder:
        found = resolve_aside(
            module, uv, python or base_python(), Path(folder), backend=wish.backend
        )
    backend = found.choice.backend if found.choice else ""
    if asked.backend == AUTO:
        asked = replace(asked, backend=backend or CPU)
    current = entry is not None and inventory.is_current(module, entry) and asked.met_by(before)
    return InstallPlan(
        name=name,
        version=module.version,
        needed=not current,
        python=str(python or request),
        python_missing=python is None,
        backend=backend,
        why=found.choice.sentence if found.choice else "",
        packages=[
            {"package": wheel.package, "version": wheel.version, "bytes": wheel.size}
            for wheel in found.wheels
        ],
        space=disk.predict(data, found.wheels),
        backends=resolution.offered(module.lock),
    )


def resolve_aside(
    module: Module,
    uv: Uv,
    python: Path,
    folder: Path,
    *,
    backend: str = AUTO,
    fresh: bool = False,
) -> resolution.Resolved:
    """Resolve in an empty `folder` what a build with this interpreter would install."""
    for name in generations.copied(module.folder):
        shutil.copyfile(module.folder / name, folder / name)
    return resolution.resolve(folder, uv, python, backend=backend, fresh=fresh)
