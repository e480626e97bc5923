"""Installs a bundle without any network: a normal install that gets its files from the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from envmanager.bundles import manifest, placing_python, reading
from envmanager.bundles.reading import Bundle, Content
from envmanager.bundles.target import here
from envmanager.data import access, files, fulldisk
from envmanager.environments import overlay
from envmanager.environments.generations import source_sha256
from envmanager.environments.lifecycle import Environments, Installed
from envmanager.errors import BadInput, InstallFailed, UnknownModule
from envmanager.events import CancelToken, Notice, Progress, Report, Stage, ignore
from envmanager.modules import catalog, placing
from envmanager.modules.own import OwnModules
from envmanager.packages import resolution
from envmanager.packages.backends import AUTO
from envmanager.packages.wheel_store import WheelStore
from envmanager.sharing import archive, placing_weights
from envmanager.sharing.shared_sets import SharedSet
from envmanager.uv.program import Uv
from envmanager.weights.store import Store
from ga3_nodes import home


def install(
    engine: Environments,
    path: Path,
    *,
    replace_modules: bool = False,
    checksum: str = "",
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> list[Installed]:
    """Publish the modules of a bundle, tested as ever, with the weights that came along.

    No network is asked for anything. A module that this computer has not becomes one of the user's.

    Parameters
    ----------
    replace_modules : bool
        Where a module differs from the one of that name here, make it the user's own in its place.
    checksum : str
        That of the bundle that was shown, where one was: another one is refused.

    Raises
    ------
    GA3EnvError
        Why it cannot be installed. All is as it was, except for modules that were published before.
    """
    cancel = cancel or CancelToken()
    shared = access.readable_by_all(engine.data)
    with shared, reading.opened(path, report, cancel) as bundle, ExitStack() as undo:
        if checksum not in ("", bundle.manifest.checksum):
            why = "it is another one than was shown"
            raise archive.refused(bundle.path, why, "file_altered", "Look at it again.")
        offline = Environments(engine.data, replace(engine.settings, offline=True))
        uv = Uv(engine.data, offline.settings, cancel)
        engine.data.root.mkdir(parents=True, exist_ok=True)  # uv runs in it
        lacks_python = placing_python.is_needed(bundle, uv)
        _refuse_other_computer(bundle, uv, lacks_python=lacks_python)
        for content in bundle.contents:
            _refuse_other_nis(bundle, content, uv)
            _refuse_other_module(engine, content, replace_modules)
            resolution.adopt(content.module.folder, uv, content.said.backend or AUTO)
            placing_weights.refuse_others(Store(engine.data, content.module), content.said.weights)
        if 2 * sum(file.size for file in bundle.manifest.files.values()) > _room(engine):
            raise fulldisk.failure(engine.data.root)
        if lacks_python:
            placing_python.put(bundle, uv, report, undo)
        done = [_install(offline, bundle, content, report) for content in bundle.contents]
        undo.pop_all()
        return done


def _room(engine: Environments) -> int:
    return fulldisk.free(engine.data.root)


def _refuse_other_computer(bundle: Bundle, uv: Uv, *, lacks_python: bool) -> None:
    target = bundle.manifest.target
    if not target.is_here:
        raise archive.refused(
            bundle.path,
            f"it is for {target.platform}, and this computer has {here() or 'another system'}",
            "other_platform",
            f"Make one for it: ./run bundle create ... --platform {here() or '?'}",
        )
    if not lacks_python:
        return
    if not bundle.manifest.interpreter:
        raise InstallFailed(
            f"{bundle.path.name} is for Python {target.python}, and none was found here"
            + (" that all accounts can run." if home.is_shared(uv.data.root) else "."),
            f"Install Python {target.python} (64 bit), or make the bundle again with one "
            "(./run bundle create ... --with-python), or for the Python that is here "
            "(--python VERSION).",
            code="python_missing",
        )
    if uv.settings.python_source == "system":
        raise InstallFailed(
            f"{bundle.path.name} brings Python {target.python} along, and the setting "
            "python_source allows only those of the system.",
            f"Install Python {target.python} (64 bit), or: ./run settings python_source any",
            code="python_missing",
        )


def _refuse_other_nis(bundle: Bundle, content: Content, uv: Uv) -> None:
    """Refuse a module that runs inside NIS where NIS has another Python than the bundle is for."""
    if content.module.runtime != catalog.HOST:
        return
    wanted, python = overlay.runtime(content.module, uv).python(""), bundle.manifest.target.python
    if wanted != python:
        raise BadInput(
            f"{content.module.name} runs inside NIS-Elements, which has Python {wanted} here; "
            f"{bundle.path.name} is for Python {python}.",
            f"Make one for it: ./run bundle create ... --python {wanted}",
            code="python_not_allowed",
        )


def _refuse_other_module(engine: Environments, content: Content, replacing: bool) -> None:
    present = _present(engine, content)
    if present is None or replacing or source_sha256(present) == source_sha256(content.module):
        return
    name = content.module.name
    raise BadInput(
        f"The module {name} {content.module.version} in the bundle is not the {name} "
        f"{present.version} that is here.",
        "Make the bundle with the same version of the app. Or add --replace-modules: the bundle's "
        f"is then used in its place, as a module of yours, until you delete it from "
        f"{engine.data.user_modules}.",
        code="module_differs",
    )


def _present(engine: Environments, content: Content) -> catalog.Module | None:
    try:
        return catalog.find(content.module.name, engine.data)
    except UnknownModule:
        return None


# ---- one module ---------------------------------------------------------------------------------


def _install(engine: Environments, bundle: Bundle, content: Content, report: Report) -> Installed:
    """Put a module, its weights and its environment in place; what fails undoes the others."""
    module, cancel = content.module, bundle.cancel
    store = Store(engine.data, module)
    with ExitStack() as undo:
        undo.callback(WheelStore(engine.data).release, content.wheels, module.name)
        _put_module(engine, content, report, cancel, undo)
        _put_weights(store, bundle, content.said.weights, report, undo)
        done = engine.install(
            module.name,
            python="" if module.runtime == catalog.HOST else bundle.manifest.target.python,
            backend=content.said.backend,
            supply=_supply(engine, bundle, content, report),
            report=report,
            cancel=cancel,
        )
        undo.pop_all()
    if missing := store.missing():
        lacking = ", ".join(missing)
        report(Notice(f"{module.name} needs weights that did not come along: {lacking}."))
    return done


def _put_module(
    engine: Environments, content: Content, report: Report, cancel: CancelToken, undo: ExitStack
) -> None:
    present = _present(engine, content)
    if present is not None and source_sha256(present) == source_sha256(content.module):
        return
    place = engine.data.user_modules / content.module.name
    before = content.module.folder.with_name(f".{content.module.name}.before")
    if place.is_dir():
        shutil.copytree(place, before)
    undo.callback(_put_back, engine, place, before)
    own = OwnModules(engine.data, engine.settings, report, cancel)
    own.add(content.module.folder, update=True, replace_shipped=True)


def _put_back(engine: Environments, place: Path, before: Path) -> None:
    """Put the user's module of before in its place again: whole, or that of the bundle stays."""
    if before.is_dir():
        with placing.staging(engine.data, place.name, "bundle", ignore) as staged:
            shutil.copytree(before, staged, dirs_exist_ok=True)
            placing.put(engine.data, place.name, staged)
        return
    files.discard(place, engine.data.trash)
    with suppress(OSError):  # not where others are in it
        place.parent.rmdir()


def _put_weights(
    store: Store, bundle: Bundle, sets: tuple[SharedSet, ...], report: Report, undo: ExitStack
) -> None:
    def extract(one: SharedSet, folder: Path) -> None:
        bundle.extract_weights(store.module.name, one, folder)

    def take_out() -> None:
        with store.writing("bundle"):
            inner.close()

    if sets:
        inner = ExitStack()
        undo.callback(take_out)
        with store.writing("bundle", report, bundle.cancel) as noting:
            placing_weights.put(store, sets, extract, noting, inner)


def _supply(
    engine: Environments, bundle: Bundle, content: Content, report: Report
) -> Callable[[Path], None]:
    store = WheelStore(engine.data)

    def supply(folder: Path) -> None:
        """Put the lock into the generation's folder, and the wheels where uv shall find them."""
        bundle.extract(content.said.lock, folder / "pylock.toml")
        report(Stage("copy", "Copying the packages from the bundle"))
        done, total = 0, sum(bundle.manifest.files[manifest.member(w)].size for w in content.wheels)
        for wheel in content.wheels:
            place, before = store.place(wheel), done

            def tell(come: int, before: int = before) -> None:
                report(Progress(before + come, total))

            aside = place.with_name(f"{place.name}.copy")
            aside.unlink(missing_ok=True)
            with fulldisk.named(store.folder):
                bundle.extract(manifest.member(wheel), aside, tell)
            home.patiently(lambda: aside.replace(place), seconds=10.0)  # noqa: B023
            done += bundle.manifest.files[manifest.member(wheel)].size

    return supply
