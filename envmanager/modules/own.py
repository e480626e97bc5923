"""The user's own modules: a new one from the template, one from a folder, a new lock for one."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

import tomlkit

from envmanager.data import files
from envmanager.data.paths import SHIPPED_MODULES, DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import BadInput, GA3EnvError, ToolFailed, UnknownModule
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.modules import checking as module_check
from envmanager.modules import placing
from envmanager.packages import lockfile
from envmanager.uv.program import Uv
from ga3_nodes import records

_TEMPLATE = Path(__file__).with_name("new_module")
_LOCK = "requirements.lock"
# Windows takes none of these as a folder's name.
_DEVICES = re.compile(r"con|prn|aux|nul|com\d|lpt\d")
_NOT_COPIED = frozenset(
    """
    .venv __pycache__ .git uv.lock pylock.toml .pytest_cache .mypy_cache .ruff_cache
    .ipynb_checkpoints
    """.split()
)


@dataclass(frozen=True)
class Added:
    """A module of the user's; `replaced` tells that one was there before."""

    name: str
    version: str
    folder: Path
    replaced: bool = False


@dataclass(frozen=True)
class Relocked:
    """A new lock; `changes` holds ``package``, ``old`` and ``new`` versions."""

    name: str
    folder: Path
    packages: int
    changes: list[dict[str, str | None]]


@dataclass(frozen=True)
class OwnModules:
    """The modules in ``DATA/modules``, and how they come there.

    Parameters
    ----------
    cancel : CancelToken, optional
        Ends the work; nothing is left of it.
    """

    data: DataFolder
    settings: Settings
    report: Report = ignore
    cancel: CancelToken | None = None

    def new(self, name: str, title: str = "", *, replace_shipped: bool = False) -> Added:
        """Make a small module that works, for the user to change.

        Parameters
        ----------
        title : str
            For people; by default made from the name.
        replace_shipped : bool
            Allow the name of a module that comes with the app: the user's own wins.

        Raises
        ------
        BadInput
            The name or the title cannot be used, or there is a module of that name.
        ToolFailed
            uv cannot look up the packages; nothing is left.
        GA3EnvError
            The data folder cannot be written, or is in use; nothing is left.
        """
        title = title or name.replace("_", " ").capitalize()
        _refuse_name(name)
        if not title.isprintable() or not title.strip():
            raise BadInput(f"The title {title!r} is not one line of text.", "Give another one.")
        with self.staging(name, "new-module", replace_shipped=replace_shipped) as staged:
            _write_template(staged, name, title)
            self._make_lock(staged, staged)
            return self.put(staged, name)

    def add(
        self,
        folder: Path,
        *,
        update: bool = False,
        lock: bool = False,
        replace_shipped: bool = False,
    ) -> Added:
        """Copy a module's folder among the user's modules; it is checked first.

        Parameters
        ----------
        update : bool
            Replace the user's module of that name, whole.
        lock : bool
            Make the copy's ``requirements.lock`` anew.
        replace_shipped : bool
            Allow the name of a module that comes with the app: the user's own wins.

        Raises
        ------
        CatalogError
            Something in the folder is wrong; the message names the file and the place.
        BadInput
            The folder cannot be copied, or there is a module of that name.
        GA3EnvError
            What else is in the way; the user's modules are as they were.
        """
        source = folder.resolve()
        module = module_check.check(folder, locked=not lock)
        self._refuse_place(source)
        with self.staging(
            module.name, "add-module", update=update, replace_shipped=replace_shipped
        ) as staged:
            self.report(Stage("copy", "Copying the folder"))
            self._copy(source, staged)
            if lock:
                self._make_lock(staged, staged)
            return self.put(staged, module.name)

    def lock(self, name: str) -> Relocked:
        """Make the lock of a user's module anew, after a change of its ``pyproject.toml``.

        Raises
        ------
        UnknownModule
            The user has no module of that name.
        GA3EnvError
            What else is in the way; the lock is as it was.
        """
        folder = self.data.user_modules / name
        if not records.valid_name(name) or not folder.is_dir():
            raise self._not_own(name)
        module_check.check_project(folder)
        with placing.staging(self.data, name, "lock-module", self.report) as staged:
            self._make_lock(folder, staged)
            module_check.check_lock(staged)
            old, new = _pins(folder / _LOCK), _pins(staged / _LOCK)
            files.write_text(folder / _LOCK, (staged / _LOCK).read_text("utf-8"))
        changes = [
            {"package": package, "old": old.get(package), "new": new.get(package)}
            for package in sorted({*old, *new})
            if old.get(package) != new.get(package)
        ]
        return Relocked(name, folder, len(new), changes)

    @contextmanager
    def staging(
        self, name: str, what: str, *, update: bool = False, replace_shipped: bool = False
    ) -> Iterator[Path]:
        """Yield an empty folder for a new module's files, to be `put`; it is gone at the end.

        Parameters
        ----------
        what : str
            The command's word, for whoever waits meanwhile.
        update, replace_shipped : bool
            As for `add`.

        Raises
        ------
        BadInput
            The name cannot be used, or there is a module of that name.
        ModuleInUse
            Another command is changing the module.
        """
        _refuse_name(name)
        with placing.staging(self.data, name, what, self.report) as staged:
            self._refuse_existing(name, update=update, replace_shipped=replace_shipped)
            yield staged

    def put(self, staged: Path, name: str) -> Added:
        """Check a staged folder as any other, and make it the module.

        Raises
        ------
        CatalogError
            Something in the folder is wrong.
        Cancelled
            The user's modules are as they were.
        """
        module = module_check.check(staged)
        if self.cancel:
            self.cancel.check()
        place = self.data.user_modules / name
        replaced = place.exists()
        placing.put(self.data, name, staged)
        return Added(name, module.version, place, replaced)

    # ---- parts ------------------------------------------------------------------------------

    def _make_lock(self, project: Path, target: Path) -> None:
        """Lock what the ``pyproject.toml`` of one folder asks for into another folder."""
        self.report(Stage("lock", "Looking up the packages and all that they need"))
        if project != target:
            shutil.copyfile(project / "pyproject.toml", target / "pyproject.toml")
        (target / _LOCK).unlink(missing_ok=True)
        try:
            Uv(self.data, self.settings, self.cancel).lock(
                target / "pyproject.toml", target / _LOCK
            )
        except ToolFailed as error:
            if error.code != ToolFailed.code:  # uv is missing
                raise
            raise ToolFailed(
                f"The packages could not be looked up. {error.message}",
                "Nothing was changed. Look at the names in pyproject.toml, the network connection "
                "and the settings (./run settings), then run the command again.",
                code="lock_failed",
                details=error.details,
            ) from error

    def _refuse_existing(self, name: str, *, update: bool, replace_shipped: bool) -> None:
        own = self.data.user_modules / name
        if own.exists():
            if update:
                return
            raise BadInput(
                f"You have a module {name!r} already, in {own}.",
                "Take another name. To replace the whole folder by another one: "
                "./run add-module FOLDER_OR_FILE --update",
                code="module_exists",
            )
        if _is_shipped(name) and not replace_shipped:
            raise BadInput(
                f"{name!r} is a module that comes with the app.",
                "Take another name. Or add --replace-shipped: yours is then used in its place, "
                f"until you delete {own}.",
                code="module_exists",
            )

    def _refuse_place(self, source: Path) -> None:
        own = self.data.user_modules.resolve()
        if source.parent == own:
            raise BadInput(
                f"{source} is a module of yours already.",
                f"Nothing to do. Install it: ./run install {source.name}",
                code="module_exists",
            )
        if source == own or source in own.parents:
            raise BadInput(f"{source} holds the data folder.", "Give the module's own folder.")

    def _not_own(self, name: str) -> GA3EnvError:
        if _is_shipped(name):
            return UnknownModule(
                f"{name!r} comes with the app, and so does its lock.",
                f"Newer packages for it: ./run update {name} --fresh",
            )
        return UnknownModule(
            f"You have no module {name!r}: there is no folder {self.data.user_modules / name}.",
            "Make one: ./run new-module NAME. Or add one: ./run add-module FOLDER",
        )

    def _copy(self, source: Path, target: Path) -> None:
        """Copy the bytes of all files; links become files, and nothing leads out of the copy."""
        for place, folders, names in os.walk(source):
            folders[:] = sorted(set(folders) - _NOT_COPIED)
            for name in folders:
                _refuse_link(Path(place, name))
                target.joinpath(Path(place).relative_to(source), name).mkdir()
            for name in sorted(set(names) - _NOT_COPIED):
                if self.cancel:
                    self.cancel.check()
                _copy_file(Path(place, name), target / Path(place).relative_to(source) / name)


def _refuse_name(name: str) -> None:
    if not records.valid_name(name) or _DEVICES.fullmatch(name):
        raise BadInput(
            f"{name!r} cannot be the name of a module.",
            "Take up to 40 small letters, digits and _, a letter first: my_tool",
            code="bad_name",
        )


def _is_shipped(name: str) -> bool:
    return (SHIPPED_MODULES / name / "module.toml").is_file()


def _write_template(folder: Path, name: str, title: str) -> None:
    # A package's name ends with a letter or a digit.
    values = {
        "NAME": name,
        "PACKAGE": f"ga3-module-{name.replace('_', '-').strip('-')}",
        "TITLE": tomlkit.string(title).as_string(),
    }
    for template in sorted(_TEMPLATE.glob("*.txt")):
        text = Template(template.read_text("utf-8")).substitute(values)
        (folder / template.stem).write_text(text, "utf-8", newline="\n")


def _pins(lock: Path) -> dict[str, str]:
    """Return the versions that a lock pins, by package; empty where it cannot be read."""
    found: dict[str, list[str]] = {}
    try:
        for name, version in lockfile.locked_hashes(lock):
            found.setdefault(name, []).append(version)
    except (OSError, ValueError):
        return {}
    return {name: ", ".join(versions) for name, versions in found.items()}


def _refuse_link(folder: Path) -> None:
    """Refuse a link or a junction: it may lead anywhere, or in a circle."""
    inside = os.path.join(os.path.realpath(folder.parent), folder.name)  # noqa: PTH118
    if os.path.normcase(os.path.realpath(folder)) != os.path.normcase(inside):
        raise BadInput(
            f"{folder} is a link to another folder.",
            "Put the folder itself in its place, or take the link away.",
        )


def _copy_file(source: Path, target: Path) -> None:
    try:
        regular = stat.S_ISREG(source.stat().st_mode)
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error}.", "Correct or delete it.") from error
    if not regular:  # a pipe would block for ever
        raise BadInput(f"{source} is no ordinary file.", "Take it out of the folder.")
    shutil.copyfile(source, target)
