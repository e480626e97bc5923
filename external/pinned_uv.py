"""The uv that `tools.toml` pins, in `external/UV/`: fetched with pip, checked by its sha256."""

from __future__ import annotations

import os
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

from external.places import TOOLS, UV, VENV, VENV_PYTHON, WINDOWS, sha256
from external.setup_lock import scratch
from external.telling import SetupError, refuse, say
from external.tools import run_tool

BY_HAND = "or put the program uv {version} for this system into external/UV yourself."


class Pin:
    """What tools.toml says about uv on a platform, by default this one."""

    def __init__(self, platform: str = "") -> None:
        if platform:
            self.platform = platform
        elif sys.platform == "win32":
            self.platform = sysconfig.get_platform().replace("win-amd64", "windows-x86_64")
        else:
            system = "macos" if sys.platform == "darwin" else sys.platform
            self.platform = f"{system}-{os.uname().machine}"
        try:
            table = tomllib.loads(TOOLS.read_text("utf-8"))["uv"]
            self.version: str = table["version"]
            entry = table.get(self.platform, {"wheel_sha256": [], "binary_sha256": []})
            self.wheels: list[str] = entry["wheel_sha256"]
            self.binaries: list[str] = entry["binary_sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "Restore the file, for example with: git checkout -- external/tools.toml"
            message = f"external/tools.toml cannot be read: {error}"
            raise SetupError("checkout_damaged", message, hint) from None
        if not self.wheels:
            hint = "It is made for 64-bit Windows, Linux (x86_64, aarch64) and macOS."
            message = f"This project names no uv for the platform {self.platform}."
            raise SetupError("platform_unknown", message, hint)


def ensure_uv(pin: Pin) -> None:
    """Have the pinned uv in external/UV; a good one that lies there already is kept."""
    if UV.is_file():
        if sha256(UV) in pin.binaries:
            if not WINDOWS and not os.access(UV, os.X_OK):
                UV.chmod(0o755)  # put there by hand
            return
        say(f"external/UV/{UV.name} is not the uv {pin.version} that this project names.")
    say(f"Getting uv {pin.version} ...")
    with scratch() as folder:
        binary = unpack_uv(download_uv(pin, folder), folder)
        if sha256(binary) not in pin.binaries:
            message = f"The fetched uv {pin.version} has not the sha256 in external/tools.toml."
            raise SetupError("hash_mismatch", message, "Do not use it; report this.")
        binary.chmod(0o755)
        try:
            binary.replace(UV)
        except PermissionError:
            message = f"external/UV/{UV.name} cannot be replaced: it is in use or not writable."
            raise SetupError("in_use", message, "Close the app, then start again.") from None


def download_uv(pin: Pin, folder: Path) -> Path:
    """Fetch uv's wheel with pip: it knows the user's index, proxy and certificates."""
    hashes = "".join(f" --hash=sha256:{value}" for value in pin.wheels)
    (folder / "uv.txt").write_text(f"uv=={pin.version}{hashes}\n", "utf-8")
    command = ["-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["-q", "--disable-pip-version-check", "--require-hashes", "-dwheel", "-r", "uv.txt"]
    code, lines = run_tool([sys.executable, *command], folder)
    if code and any("No module named pip" in line for line in lines):
        code, lines = run_tool([pip_of_our_own(pin, folder), *command], folder)
    wheels = list((folder / "wheel").glob("uv-*.whl"))
    if code or not wheels:
        hint = "Check the network, the proxy and pip's settings (pip config list), "
        what = f"uv {pin.version} could not be fetched"
        refuse(lines, "uv_not_fetched", what, hint + BY_HAND.format(version=pin.version))
    return wheels[0]


def pip_of_our_own(pin: Pin, folder: Path) -> Path:
    """Make a temporary environment that has pip, for a Python without."""
    say("  (this Python has no pip; making a temporary one)")
    if run_tool([sys.executable, "-I", "-m", "venv", "pip"], folder)[0]:
        message = f"uv cannot be fetched: {sys.executable} has no pip and cannot make one."
        hint = "Install pip for it (Debian, Ubuntu: sudo apt install python3-pip), "
        raise SetupError("no_pip", message, hint + BY_HAND.format(version=pin.version))
    return folder / "pip" / VENV_PYTHON.relative_to(VENV)


def unpack_uv(wheel: Path, folder: Path, name: str = UV.name) -> Path:
    """Take the one program out of the wheel, and have it on the disk before it gets its name."""
    target = folder / name
    with zipfile.ZipFile(wheel) as archive, target.open("wb") as stream:
        member = next(n for n in archive.namelist() if n.endswith(f"/scripts/{name}"))
        stream.write(archive.read(member))
        stream.flush()
        os.fsync(stream.fileno())
    return target
