"""The checks of the computer: programs, network, disk, Windows, NIS-Elements."""

from __future__ import annotations

import hashlib
import os
import shutil
import sysconfig
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import psutil

from envmanager.data import access, files
from envmanager.data import settings as settings_file
from envmanager.data.paths import APP, base_python, uv_binary
from envmanager.doctor.line import TOOL_LIMIT_S, Check, Patient, size
from envmanager.environments.generations import requires_python
from envmanager.errors import Cancelled, GA3EnvError
from envmanager.events import CancelToken
from envmanager.machine import windows
from envmanager.modules import catalog

TOOLS = APP / "external" / "tools.toml"
_SCAN_LIMIT_S = 10.0
_LITTLE_SPACE, _NO_SPACE = 5_000_000_000, 500_000_000
_LONG_PATH, _SHORT_PATH = 100, 60
_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "afs", "davfs")
_CLOUD = ("onedrive", "dropbox", "google drive", "googledrive", "nextcloud")
_OLD_VC = (14, 40)  # from here on its mutex is what programs of newer compilers expect

# ---- programs -----------------------------------------------------------------------------------


def uv(patient: Patient) -> Check:
    """Check the program uv: there, genuine, and able to run."""
    binary, foreign = uv_binary(), bool(os.environ.get("GA3ENV_UV"))
    if not binary.is_file():
        hint = "Correct or remove the variable GA3ENV_UV." if foreign else "./run fetches it."
        return Check.error(f"uv is missing: there is no {binary}.", hint)
    table = tomllib.loads(TOOLS.read_text("utf-8"))["uv"]
    platform = sysconfig.get_platform().replace("win-amd64", "windows-x86_64")
    with binary.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    genuine = digest in table.get(platform, {}).get("binary_sha256", ())
    if not genuine and not foreign:
        return Check.error(
            f"{binary} is not the uv {table['version']} of {TOOLS}: its sha256 is another one.",
            "Delete the file and start ./run: it is fetched anew.",
        )
    try:
        with patient.uv() as uv:
            version = uv.version()
    except OSError as error:
        return Check.error(
            f"{binary} cannot be started: {error}.", "Delete it and start ./run again."
        )
    if not genuine:
        return Check.warning(
            f"uv {version} is the one of GA3ENV_UV, not the tested uv {table['version']}.",
            "Remove the variable GA3ENV_UV to use the tested one.",
        )
    return Check.ok(f"uv {version} is there, and its sha256 is right.")


def python(patient: Patient) -> Check:
    """Look for a Python that fits, as an install does."""
    wanted = [patient.settings.python] if patient.settings.python else _wanted_pythons(patient)
    with patient.uv() as uv:
        found = {request: uv.find_python(request) for request in wanted}
    missing = [request for request, python in found.items() if python is None]
    if not missing:
        return Check.ok(f"Python was found: {', '.join(sorted({str(p) for p in found.values()}))}.")
    text = f"No Python {' or '.join(missing)} is installed on this computer"
    if patient.settings.offline:
        return Check.error(f"{text}, and the settings forbid the network.", "Install that Python.")
    return Check.warning(
        f"{text}; uv fetches one with the next install.", "Or install it yourself."
    )


def _wanted_pythons(patient: Patient) -> list[str]:
    wanted = set()
    for name in catalog.names(patient.data):
        try:
            wanted.add(requires_python(catalog.find(name, patient.data)))
        except GA3EnvError:
            continue  # the module's own line tells
    return sorted(wanted) or [">=3.10"]


def gpu(patient: Patient) -> Check:
    """Ask for the GPUs and their driver."""
    from envmanager.machine import hardware

    found = hardware.gpus(cancel=patient.cancel)
    names = [f"{gpu.name} (compute capability {gpu.capability_text})" for gpu in found.gpus]
    text = f"{', '.join(names)}; driver {found.driver or 'unknown'}." if names else ""
    if found.broken:
        hint = "Restart the computer; if that does not help, install the NVIDIA driver again."
        return Check.warning(f"{text} {found.reason}".strip(), hint)
    return Check.ok(text or f"{found.reason} Modules compute on the processor.")


def index(patient: Patient) -> Check:
    """Resolve one package with the user's settings, as an install does."""
    if patient.settings.offline:
        return Check.ok("The settings forbid the network; the package index was not asked.")
    settings = replace(patient.settings, constraints=())
    place = settings.index_url or "The package index"
    try:
        with patient.uv(settings) as uv:
            wanted = uv.data.root / "requirements.in"
            wanted.write_text("packaging\n", "utf-8")
            uv.resolve(wanted, base_python(), uv.data.root / "pylock.toml")
    except (GA3EnvError, Cancelled) as error:
        patient.cancel.check()
        late = isinstance(error, Cancelled)
        reason = f"No answer in {TOOL_LIMIT_S:.0f} s." if late else error.message
        return Check.error(
            f"{place} cannot be used, so nothing can be installed. {reason}",
            "Check the network, the proxy and the package sources in ./run settings. Without a "
            "network for good: ./run settings offline true",
        )
    return Check.ok(f"{place} answers.")


def settings(patient: Patient) -> Check:
    """Read the settings."""
    path = patient.data.settings
    settings_file.load(path)
    return Check.ok(f"{path} is valid." if path.exists() else "The settings are the defaults.")


# ---- the data folder ----------------------------------------------------------------------------


def data_folder(patient: Patient) -> Check:
    """Write into the data folder."""
    root = patient.data.root
    if _only_read(patient):
        return Check.ok(f"The data folder {root} is for all accounts; this one only reads it.")
    probe = root / f"doctor.{os.getpid()}.tmp"
    try:
        root.mkdir(parents=True, exist_ok=True)
        files.write_whole(probe, lambda path: path.write_bytes(b"0" * 4096))
        probe.unlink()
    except OSError as error:
        return Check.error(
            f"The data folder {root} cannot be written: {error}.",
            "Correct its permissions, or choose another folder with the variable GA3ENV_HOME.",
        )
    return Check.ok(f"The data folder {root} can be written.")


def _only_read(patient: Patient) -> bool:
    """Tell whether an account asks about the data folder of all, which it may not change."""
    allowed = access.access(patient.data)
    return allowed.shared and not allowed.may_change


def disk_space(patient: Patient) -> Check:
    """Ask for the free space of the data folder's volume."""
    free = shutil.disk_usage(patient.data.root).free
    text = f"{size(free)} are free on the volume of the data folder."
    hint = "Free some space, or remove modules that nobody uses: ./run list, ./run remove MODULE"
    if free < _NO_SPACE:
        return Check.error(f"Only {text}", hint)
    return Check.warning(f"Only {text}", hint) if free < _LITTLE_SPACE else Check.ok(text)


def data_path(patient: Patient) -> Check:
    """Look at the letters of the data folder's path."""
    text = str(patient.data.root)
    if text.isascii():
        return Check.ok("The path of the data folder holds plain letters only.")
    return Check.ok("The path of the data folder holds letters beyond ASCII; that works.")


def data_place(patient: Patient) -> Check:
    """Look for clouds and network drives below the data folder."""
    root = patient.data.root.resolve()
    synced = [os.environ.get(f"OneDrive{kind}") for kind in ("", "Commercial", "Consumer")]
    parents = [str(path).casefold() for path in (root, *root.parents)]
    in_cloud = any(place and str(Path(place)).casefold() in parents for place in synced)
    if in_cloud or any(part.casefold().startswith(_CLOUD) for part in root.parts):
        return Check.warning(
            f"The data folder {root} is synchronised with a cloud, which is slow and damages it.",
            "Choose a folder outside of it with ./run move-root.",
        )
    filesystem, remote = _volume(root)
    if remote:
        return Check.warning(
            f"The data folder {root} is on a network drive: slow, and locks may not work there.",
            "Choose a folder on a disk of this computer with ./run move-root.",
        )
    kind = f" ({filesystem})" if filesystem else ""
    return Check.ok(f"The data folder is on a disk of this computer{kind}.")


def _volume(root: Path) -> tuple[str, bool]:
    if windows.IS_WINDOWS:
        return windows.volume(root)
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    nearest = next((str(path) for path in (root, *root.parents) if str(path) in mounts), "")
    filesystem = mounts.get(nearest, "")
    return filesystem, filesystem.startswith(_REMOTE)


def hard_links(patient: Patient) -> Check:
    """Try a hard link between the cache and the environments."""
    if _only_read(patient):
        return Check.ok("Whether environments share files is for an administrator to try.")
    cache, envs = patient.data.uv_cache, patient.data.root / "envs"
    cache.mkdir(parents=True, exist_ok=True)
    envs.mkdir(exist_ok=True)
    if cache.stat().st_dev != envs.stat().st_dev:
        return Check.warning(
            f"The cache {cache} is on another volume: every environment takes its full size.",
            "Set UV_CACHE_DIR to a folder on the volume of the data folder, or remove it.",
        )
    source, target = (folder / f"doctor.{os.getpid()}.tmp" for folder in (cache, envs))
    try:
        source.touch()
        os.link(source, target)
    except OSError as error:
        return Check.warning(
            f"The volume of the data folder has no hard links ({error}): every environment takes "
            "its full size.",
            "Choose a folder on an NTFS volume (Linux: ext4, xfs) with ./run move-root.",
        )
    finally:
        target.unlink(missing_ok=True)
        source.unlink(missing_ok=True)
    return Check.ok("Environments share the files of the cache through hard links.")


# ---- Windows and NIS-Elements -------------------------------------------------------------------


def long_paths(patient: Patient) -> Check:
    """Compare the length of the data folder's path with what Windows allows."""
    length, enabled = len(str(patient.data.root)), windows.long_paths_enabled()
    text = f"Windows allows long paths: {'yes' if enabled else 'no'}. The data folder's path has "
    text += f"{length} characters"
    if length > (_LONG_PATH if enabled else _SHORT_PATH):
        return Check.warning(
            f"{text}: files of large packages may not fit.",
            "Choose a shorter folder: ./run move-root C:\\GA3EnvManager.",
        )
    return Check.ok(f"{text}, which is short enough.")


def vc_runtime(patient: Patient) -> Check:
    """Ask for the Visual C++ runtime, which most packages need."""
    found = windows.vc_runtime()
    hint = "Install the newest Microsoft Visual C++ Redistributable (x64)."
    if found is None:
        return Check.warning(
            "The Microsoft Visual C++ runtime is missing: torch does not load.", hint
        )
    version = ".".join(map(str, found))
    if found < _OLD_VC:
        return Check.warning(f"The Visual C++ runtime {version} is old: packages may crash.", hint)
    return Check.ok(f"The Microsoft Visual C++ runtime is version {version}.")


def nis(patient: Patient) -> Check:
    """Look for NIS-Elements."""
    found = [
        f"{nis.folder} (version {nis.version or 'unknown'}"
        f"{', with a Python' if nis.has_python else ''})"
        for nis in windows.nis_installations()
    ]
    return Check.ok(f"NIS-Elements: {'; '.join(found) or 'not on this system'}.")


def vendor_environments(patient: Patient) -> Check:
    """Measure the environments that NIS-Elements manages itself."""
    end, seen = time.monotonic() + _SCAN_LIMIT_S, set[tuple[int, int]]()
    found = [
        f"{folder.name} {_tree_size(folder, seen, end, patient.cancel)} ({folder})"
        for folder in windows.vendor_environments()
    ]
    if not found:
        return Check.ok("NIS-Elements has no Python environments of its own here.")
    return Check.ok(f"NIS-Elements' own Python environments and cache: {', '.join(found)}.")


def _tree_size(folder: Path, seen: set[tuple[int, int]], end: float, cancel: CancelToken) -> str:
    """Add up a folder, each hard-linked file once, and not for longer than until `end`."""
    total = 0
    for place, _, names in os.walk(folder):
        cancel.check()
        if time.monotonic() > end:
            return f"more than {size(total)}"
        for name in names:
            try:
                state = Path(place, name).lstat()
            except OSError:
                continue
            key = (state.st_dev, state.st_ino)
            if state.st_nlink < 2 or key not in seen:
                total += state.st_size
                seen.add(key)
    return size(total)
