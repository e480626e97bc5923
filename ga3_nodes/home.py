"""Where things are: the data folder, its ``config.json``, the user's run and log folders."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ga3_nodes import owners
from ga3_nodes.errors import ConfigError, NotInstalled

SCHEMA = 1
LOCATION = "location.json"
APP_FOLDER = "GA3EnvManager"
PROBE = ".probe-"  # begins the names of files that are made to see whether they can be
_NO_FUNCTION: dict[str, Any] = {"inputs": {}, "outputs": {}, "parameters": {}}
# Keeps the Hugging Face libraries from their hub; other libraries have no common variable.
_OFFLINE = {"HF_HUB_OFFLINE": "1"}
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
    title: str = ""

    @property
    def runs_here(self) -> bool:
        """Whether this process can call the module without a worker."""
        return self.overlay is not None and self.python_tag == sys.implementation.cache_tag


def user_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's own data folder (not created); `environ` may be another process's."""
    if sys.platform == "win32":
        base = environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Application Support")
    else:
        base = environ.get("XDG_DATA_HOME") or str(_home(environ) / ".local" / "share")
    return Path(base) / APP_FOLDER


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def machine_root() -> Path:
    """Return the data folder that all users of the machine share (not created).

    It lies in PROGRAMDATA, a variable that only tests set elsewhere than on Windows.
    """
    usual = "C:\\ProgramData" if sys.platform == "win32" else "/var/lib"
    return Path(os.environ.get("PROGRAMDATA") or usual) / APP_FOLDER


def is_shared(root: Path) -> bool:
    """Tell whether a data folder is the one that all users of the machine share."""
    try:
        return root == located(machine_root())
    except ConfigError:
        return root == machine_root()


def places() -> list[Path]:
    """Return where to look for data folders; commands work on the one of the first place.

    That is GA3ENV_HOME, or the machine's place where GA3ENV_MACHINE_WIDE is 1 (for administrators),
    else the user's own place; what is installed is looked for in the machine's too.
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
    if not os.path.lexists(path):
        return place
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


def trusted(place: Path) -> Path:
    """Return the data folder of the machine's place, whose code this account is about to run.

    Raises
    ------
    ConfigError
        As `located`; or an account that is no administrator owns one of the two (Windows), or
        everybody may write there.
    """
    owners.refuse_unsafe(place)  # a stranger's could lead to any folder
    root = located(place)
    if root != place:
        owners.refuse_unsafe(root)
    return root


def _looked_into(number: int, place: Path) -> Path:
    """Return the data folder of one of `places`; what the user has chosen is trusted."""
    return trusted(place) if number else located(place)


def may_write(folder: Path) -> bool:
    """Tell whether this account may make files in a folder that is there.

    Windows' permission bits say nothing of that, so there a file is made, which is gone at once.
    """
    if os.access in os.supports_effective_ids:
        return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
    probe = folder / f"{PROBE}{os.getpid()}-{os.urandom(4).hex()}"
    gone_at_once = getattr(os, "O_TEMPORARY", 0)
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | gone_at_once, 0o600))
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS)
    return True


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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
            env=variables(root, name, data.get("env", {})),
            overlay=root / data["overlay"] if data.get("runtime") == "host" else None,
            python_tag=str(data.get("python_tag", "")),
            title=str(data.get("title", name)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"The entry of {name!r} in {root / 'config.json'} is damaged ({error!r}).",
            f"Install {name} again.",
        ) from error


def root_of(generation: Path) -> Path | None:
    """Return the data folder that a generation's folder lies in; None for a module's source."""
    inside = generation.parent.parent.name == "envs" and generation.name.isdecimal()
    return generation.parents[2] if inside else None


def weights_folder(root: Path, name: str) -> Path:
    """Return the folder of a module's weights, which all of its generations share."""
    return root / "weights" / name


def variables(root: Path, name: str, declared: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of a module's workers.

    ``{weights}`` in a declared value stands for the folder of the module's weights. No library
    shall download by itself.
    """
    folder = str(weights_folder(root, name))
    own = {str(k): str(v).replace("{weights}", folder) for k, v in declared.items()}
    return {**_OFFLINE, "GA3ENV_WEIGHTS": folder, **own}


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
    for number, place in enumerate(places()):
        try:
            found = _entry(_looked_into(number, place), name)
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


def roots(own: Path | None) -> Iterator[Path]:
    """Yield the data folder of a published module, if any, then the other ones.

    A user's own weights serve a module that the administrator has installed.
    """
    if own:
        yield own
    for number, place in enumerate(places()):
        try:
            root = _looked_into(number, place)
        except ConfigError:  # it is not needed
            continue
        if root != own:
            yield root


_Version = tuple[int, int, int]
_configs: dict[Path, tuple[_Version, dict[str, Any]]] = {}
_entries: dict[tuple[Path, str], tuple[_Version, ModuleEntry]] = {}


def _entry(root: Path, name: str) -> ModuleEntry | None:
    """Return a module's entry; ``config.json`` is read again only where it was replaced."""
    try:
        found = (root / "config.json").stat()
    except OSError:
        data = read_config(root)["modules"].get(name)  # absent, or with its error
        return entry(root, name, data) if data else None
    version = (found.st_ino, found.st_size, found.st_mtime_ns)
    known = _entries.get((root, name))
    if known and known[0] == version:
        return known[1]
    if root not in _configs or _configs[root][0] != version:
        _configs[root] = version, read_config(root)["modules"]
    data = _configs[root][1].get(name)
    if not data:
        return None
    made = entry(root, name, data)
    _entries[root, name] = version, made
    return made


def run_dir(root: Path) -> Path:
    """Return the private folder of worker records, keys and sockets for one data folder and user.

    It is in `root` where that folder is this user's alone, else in the user's own data folder; on
    Windows always in the latter, which the system keeps others from reading.

    Raises
    ------
    ConfigError
        Somebody else owns the folder, or may read it.
    """
    own = own_run_dir(root)
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


def own_run_dir(root: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the private folder in the user's own data folder; `environ` as for `user_root`."""
    import hashlib  # not needed for each import of the client

    digest = hashlib.sha256(os.path.normcase(str(root)).encode()).hexdigest()[:8]
    return user_root(environ) / "run" / digest


def _is_private(folder: Path) -> bool:
    """Make the folder where it is missing; tell whether it is this user's alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077


def log_dir(root: Path) -> Path:
    """Return the folder of this user's logs: in `root` where the user may write, else his own.

    In the data folder of all users nobody keeps logs, administrators neither.
    """
    own = user_root() / "logs"
    for folder in (own,) if is_shared(root) else (root / "logs", own):
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
