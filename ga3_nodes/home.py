"""Where things are: the data folder, its ``config.json``, the user's run and log folders."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ga3_nodes.errors import ConfigError, NotInstalled

SCHEMA = 1
LOCATION = "location.json"
APP_FOLDER = "GA3EnvManager"
_NO_FUNCTION: dict[str, Any] = {"inputs": {}, "outputs": {}, "parameters": {}}
_T = TypeVar("_T")


@dataclass(frozen=True)
class ModuleEntry:
    """A published module environment, as ``config.json`` describes it.

    `folder` is the generation's folder, `python` its interpreter; both are absolute. `overlay` is
    the folder of packages of a module that runs inside NIS, in a Python of the tag `python_tag`.
    """

    name: str
    root: Path
    version: str
    generation: int
    folder: Path
    python: Path
    state: str
    device: str
    functions: dict[str, Any]
    idle_timeout_s: float
    env: dict[str, str]
    overlay: Path | None = None
    python_tag: str = ""

    @property
    def runs_here(self) -> bool:
        """Whether this process can call the module without a worker."""
        return self.overlay is not None and self.python_tag == sys.implementation.cache_tag


def user_root() -> Path:
    """Return the user's own data folder (not created)."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / APP_FOLDER


def machine_root() -> Path:
    """Return the data folder that all users of the machine share (not created)."""
    if sys.platform == "win32":
        return Path(os.environ.get("PROGRAMDATA") or "C:\\ProgramData") / APP_FOLDER
    return Path("/var/lib") / APP_FOLDER


def places() -> list[Path]:
    """Return where to look for data folders; commands work on the one of the first place.

    That is GA3ENV_HOME, or the machine's place where GA3ENV_MACHINE_WIDE is 1 (for administrators),
    else the user's own place; nodes also look into the machine's.
    """
    if chosen := os.environ.get("GA3ENV_HOME"):
        return [Path(chosen).absolute()]
    if os.environ.get("GA3ENV_MACHINE_WIDE") == "1":
        return [machine_root()]
    return [user_root(), machine_root()]


def located(place: Path) -> Path:
    """Return the data folder of a place: the place itself, unless its ``location.json`` says else.

    Raises
    ------
    ConfigError
        ``location.json`` is damaged, or names a folder that is not there.
    """
    path = place / LOCATION
    try:
        text = patiently(lambda: path.read_text("utf-8"))
        root = Path(json.loads(text)["root"])
        if not root.is_absolute():
            raise ValueError(f"{root} is no full path")
    except (FileNotFoundError, NotADirectoryError):
        return place
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({type(error).__name__}: {error}).",
            'It says where the data folder is: {"schema": 1, "root": "FULL PATH"}. Correct it.',
            code="location_damaged",
        ) from error
    if not root.is_dir():
        raise ConfigError(
            f"The data folder {root} is not there.",
            f"Connect its disk. If it is lost, delete {path} and install the modules again.",
            code="root_missing",
        )
    return root


def patiently(action: Callable[[], _T], *, seconds: float = 2.0) -> _T:
    """Run `action`, again for a while when Windows says that a file is in use."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)


def read_config(root: Path) -> dict[str, Any]:
    """Read ``config.json`` of a data folder; an absent one counts as empty.

    Raises
    ------
    ConfigError
        The file is not what we wrote, or was written by a newer app.
    """
    path = root / "config.json"
    try:
        text = patiently(lambda: path.read_text("utf-8", "replace"))
    except FileNotFoundError:
        return {"schema": SCHEMA, "modules": {}}
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error}.", "Check the file's permissions."
        ) from error
    try:
        config = json.loads(text)
        schema = config["schema"]
        newer = isinstance(schema, int) and schema > SCHEMA  # whose other keys we cannot judge
        modules = config.setdefault("modules", {})
        if not isinstance(schema, int) or not (newer or isinstance(modules, dict)):
            raise TypeError(f"schema {schema!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is damaged ({type(error).__name__}: {error}).",
            "Rename the file and run the installation again: the environments are kept.",
        ) from error
    if newer:
        raise ConfigError(
            f"{path} was written by a newer GA3 Environment Manager (schema {schema}).",
            "Update the app; nothing was changed.",
            code="config_too_new",
        )
    return dict(config)


def entry(root: Path, name: str, data: dict[str, Any]) -> ModuleEntry:
    """Build the entry of one module from its part of ``config.json``."""
    try:
        return ModuleEntry(
            name=name,
            root=root,
            version=str(data["version"]),
            generation=int(data["generation"]),
            folder=root / data["dir"],
            python=root / data["python"],
            state=str(data["state"]),
            device=str(data.get("device", "cpu")),
            functions={str(k): {**_NO_FUNCTION, **v} for k, v in data["functions"].items()},
            idle_timeout_s=float(data.get("idle_timeout_s", 600)),
            env={str(k): str(v) for k, v in data.get("env", {}).items()},
            overlay=root / data["overlay"] if data.get("runtime") == "host" else None,
            python_tag=str(data.get("python_tag", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"The entry of {name!r} in {root / 'config.json'} is damaged ({error!r}).",
            f"Install {name} again.",
        ) from error


def published(name: str) -> ModuleEntry:
    """Find a module's published environment in the user's or the machine's data folder.

    A user's own entry wins only where it is ready.

    Raises
    ------
    NotInstalled
        No data folder has the module ready.
    ConfigError
        A data folder is damaged or not there, and no other one has the module.
    """
    damaged: ConfigError | None = None
    for place in places():
        try:
            root = located(place)
            data = _modules(root).get(name)
            found = entry(root, name, data) if data else None
        except ConfigError as error:
            damaged = damaged or error
            continue
        if found and found.state == "ready" and found.folder.is_dir():
            return found
    if damaged:
        raise damaged
    raise NotInstalled(
        f"The module {name!r} is not installed.",
        f"Open GA3 Environment Manager > {name} > Install, or run: ./run install {name}",
    )


_read: dict[Path, tuple[tuple[int, int, int], dict[str, Any]]] = {}


def _modules(root: Path) -> dict[str, Any]:
    """Return the modules of ``config.json``, which is read again only where it was replaced."""
    try:
        found = (root / "config.json").stat()
        version = (found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError:
        return dict(read_config(root)["modules"])  # absent, or with its error
    if root not in _read or _read[root][0] != version:
        _read[root] = version, read_config(root)["modules"]
    return _read[root][1]


def run_dir(root: Path) -> Path:
    """Return the private folder of worker records, keys and sockets for one data folder and user.

    It is in `root` where that folder is this user's alone, else in the user's own data folder; on
    Windows always in the latter, which the system keeps others from reading.

    Raises
    ------
    ConfigError
        Somebody else owns the folder, or may read it.
    """
    import hashlib  # not needed for each import of the client

    digest = hashlib.sha256(os.path.normcase(str(root)).encode()).hexdigest()[:8]
    own = user_root() / "run" / digest
    if sys.platform == "win32":
        own.mkdir(parents=True, exist_ok=True)
        return own
    for folder in (root / "run", own):
        if _is_private(folder):
            return folder
    raise ConfigError(
        f"{own} does not belong to this user alone.",
        "Correct its owner and permissions (700): workers keep their keys there.",
        code="run_folder_unsafe",
    )


def _is_private(folder: Path) -> bool:
    """Make the folder where it is missing; tell whether it is this user's alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077


def log_dir(root: Path) -> Path:
    """Return the folder of this user's logs: in `root` where the user may write, else his own."""
    for folder in (root / "logs", user_root() / "logs"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise ConfigError(
        f"No log folder can be made in {root} or {user_root()}.", "Check the permissions."
    )


def logon_tag() -> str:
    """Return what separates the workers of one user from each other.

    On Windows a worker belongs to one logon session and elevation level, since shared memory does
    not cross them; elsewhere the tag is empty.
    """
    if sys.platform != "win32":
        return ""
    import ctypes

    session = ctypes.c_ulong()
    ctypes.windll.kernel32.ProcessIdToSessionId(os.getpid(), ctypes.byref(session))
    elevated = bool(ctypes.windll.shell32.IsUserAnAdmin())
    return f"-s{session.value}{'e' if elevated else ''}"
