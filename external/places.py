"""Where everything lies in this copy of the project, and which Python runs it."""

from __future__ import annotations

import sys
from pathlib import Path

WINDOWS = sys.platform == "win32"
WINDOWLESS = Path(sys.executable).name.lower() == "pythonw.exe"  # no console, and none to open
ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "external" / "tools.toml"
UV_DIR = ROOT / "external" / "UV"
UV = UV_DIR / ("uv.exe" if WINDOWS else "uv")
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")
LOCKS = {
    "app": [ROOT / "requirements.lock"],
    "test": [ROOT / "requirements-test.lock", ROOT / "requirements.lock"],
}
WHEELS = ROOT / "wheels"  # those of the app's lock, in a release for computers without a network
STARTER = ROOT / "GA3EnvManager.exe"  # a release's: it shows a window while it sets up


def base_python() -> str:
    """Give the interpreter that runs this, or the one below it when this is a venv's."""
    found = Path(getattr(sys, "_base_executable", "") or sys.executable)
    return str(found.with_name("python.exe") if found.name.lower() == "pythonw.exe" else found)


def site_packages() -> Path:
    """Name the folder of the installed packages."""
    lib = VENV / "Lib" if WINDOWS else next((VENV / "lib").glob("python3*"), VENV)
    return lib / "site-packages"


def sha256(file: Path) -> str:
    """Hash a file."""
    import hashlib

    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
