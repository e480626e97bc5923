"""Two accounts of one computer: the administrator, who is this process, and another one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from envmanager.machine import permissions
from ga3_nodes import home
from tests.envmanager.conftest import WORKER, write_module
from tests.support import PROJECT

OTHER = 54321  # no account has this number; the system asks for none
SLOW_WORKER = WORKER.replace("import numpy as np", "import time\nimport numpy as np").replace(
    "    return", "    if threshold == 7.0:\n        time.sleep(60)\n    return"
)
COMMAND = "import sys; from envmanager.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Account:
    """An account: its processes see its own folders, and the computer's machine-wide place."""

    number: int
    name: str
    folder: Path
    computer: Path
    python: str
    more: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """Its own data folder."""
        return self.folder / home.APP_FOLDER

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its processes; nothing of the test's own places."""
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        own = {"HOME": self.folder, "XDG_DATA_HOME": self.folder, "PROGRAMDATA": self.computer}
        names = {"USER": self.name, "LOGNAME": self.name, "LANG": "C.UTF-8"}
        names |= {k: v for k, v in os.environ.items() if k.startswith(("SSL_CERT_", "UV_INDEX"))}
        paths = {"PYTHONPATH": f"{PROJECT}:{packages}", "PATH": "/usr/bin:/bin"}
        return {**names, **paths, **{k: str(v) for k, v in own.items()}, **self.more}

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start Python as this account, with files that only it may read by default."""
        return subprocess.Popen(
            [self.python, "-B", *map(str, words)],
            env=self.environment,
            cwd=self.folder,
            user=self.number,
            group=self.number,
            extra_groups=[],
            umask=0o077,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def having(self, **more: str) -> Account:
        """Return the account with more variables."""
        return replace(self, more={**self.more, **more})

    def file(self, name: str, content: bytes) -> Path:
        """Return a file of this account."""
        path = self.folder / name
        path.write_bytes(content)
        os.chown(path, self.number, self.number)
        return path

    def command(self, *words: object) -> subprocess.Popen[str]:
        """Start a command of the command line, with JSON as its output."""
        return self.start("-c", COMMAND, *words, "--json")

    def code(self, text: str, *words: object) -> str:
        """Run Python code; return what it prints."""
        process = self.start("-c", text, *words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out

    def run(self, *words: object) -> dict:
        """Run a command that must succeed; return its data."""
        _, told = self.answer(self.command(*words))
        assert told.get("code") is None, (words, told)
        return told

    def refused(self, *words: object) -> str:
        """Run a command that must fail; return the code of its error."""
        code, told = self.answer(self.command(*words))
        assert code == 1, told
        assert told["message"], told
        assert told["hint"], told
        return str(told["code"])

    @staticmethod
    def answer(process: subprocess.Popen[str]) -> tuple[int, dict]:
        """Wait for a command; return its exit code, and its data or its error."""
        out, err = process.communicate(timeout=120)
        assert out.count("\n") == 1, out + err
        told = json.loads(out)
        return process.returncode, told["data"] if told["ok"] else told["error"]


def public_python() -> str:
    """Return a Python of this version that every account can run; skip where there is none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = str(Path(sys.executable).resolve())
    for found in (own, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if Path(found).exists() and not permissions.is_private(Path(found)):
            return found
    pytest.skip(f"every {version} here is in the home folder of an account")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Return a folder that all accounts may look into, unlike those of pytest."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can be two accounts")
    if permissions.is_private(PROJECT / "run"):
        pytest.skip("other accounts cannot read this copy of the project")
    folder = Path(tempfile.mkdtemp(prefix="ga3-accounts-"))
    folder.chmod(0o755)
    yield folder
    end_processes(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def admin(place, shared_uv_cache) -> Account:
    """Return the administrator, who has the tiny module in a data folder of his own."""
    return _account(place, 0, "admin", {"UV_CACHE_DIR": str(shared_uv_cache)})


@pytest.fixture(scope="module")
def anna(place) -> Account:
    """Return the other account."""
    return _account(place, OTHER, "anna", {})


def _account(place: Path, number: int, name: str, more: dict[str, str]) -> Account:
    python, folder, computer = public_python(), place / name, place / "computer"
    folder.mkdir()
    os.chown(folder, number, number)
    computer.mkdir(exist_ok=True)
    computer.chmod(0o755)
    return Account(number, name, folder, computer, python, more)


@pytest.fixture(scope="module")
def installed(admin, tiny_lock) -> Account:
    """Install the tiny module for the administrator alone; some calls of it take long."""
    write_module(admin.root / "modules" / "tiny", tiny_lock, worker=SLOW_WORKER)
    admin.run("install", "tiny", "--python", admin.python)
    return admin


@pytest.fixture(scope="module")
def shared(installed) -> Path:
    """Make the administrator's environments those of all; return their data folder."""
    installed.run("move-root", "--machine-wide")
    return installed.computer / home.APP_FOLDER


def end_processes(folder: Path) -> None:
    """Kill the workers that a test has left in a folder."""
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            if any(word.startswith(str(folder)) for word in process.info["cmdline"] or ()):
                process.kill()
                process.wait(20)


def until(condition, seconds: float = 60.0):
    """Wait for a condition, and return what it returns."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still not: {condition}"
        time.sleep(0.05)
    return found
