"""A small copy of the project, with `run` and `run.cmd`, that sets itself up without a network.

Its registry is a folder of wheels made here; uv's holds the project's own uv.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import PROJECT
from tests.wheels import make_wheel

WINDOWS = sys.platform == "win32"
BASE_PYTHON = sys._base_executable
UV_NAME = "uv.exe" if WINDOWS else "uv"
UV = Path(os.environ.get("GA3ENV_UV") or PROJECT / "external" / "UV" / UV_NAME)
VERSION = tomllib.loads((PROJECT / "external/tools.toml").read_text("utf-8"))["uv"]["version"]
PLATFORMS = {"windows-x86_64", "linux-x86_64", "linux-aarch64", "macos-arm64", "macos-x86_64"}
MAIN = """
import json, os, sys, tiny
print(json.dumps({"program": __spec__.name, "args": sys.argv[1:], "cwd": os.getcwd(),
                  "tiny": tiny.__file__, "path": sys.path, "env": dict(os.environ)}))
sys.exit(7)
"""
FAKE_PYTEST = (
    "import json, os, sys\nprint(json.dumps({'args': sys.argv[1:], 'cwd': os.getcwd()}))\n"
)
posix_only = pytest.mark.skipif(WINDOWS, reason="POSIX: bash, signals, links")


def make_registry(folder):
    """Fill a folder with wheels; give the sha256 of each."""
    binary = UV.read_bytes()
    wheels = {
        "tiny": make_wheel(folder, "tiny", "1.0", {"tiny/__init__.py": "", "tiny/a.py": ""}),
        "tiny2": make_wheel(folder, "tiny", "2.0", {"tiny/__init__.py": "two = 2"}),
        "pytest": make_wheel(folder, "pytest", "1.0", {"pytest.py": FAKE_PYTEST}),
        "uv": make_wheel(folder, "uv", VERSION, {f"uv-{VERSION}.data/scripts/{UV_NAME}": binary}),
        "binary": UV,
    }
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in wheels.items()}


def end(process):
    """End a start and all below it; the shell alone would leave the rest."""
    if WINDOWS:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class Copy:
    """A small copy of the project, an empty home and a registry without a network."""

    def __init__(self, root, wheels, hashes):
        self.root, self.wheels, self.hashes = root, wheels, hashes
        self.home = root.parent / "home"
        self.home.mkdir()
        (root / "external" / "UV").mkdir(parents=True)
        parts = [path.relative_to(PROJECT) for path in (PROJECT / "external").glob("*.py")]
        for name in ("run", "run.cmd", *parts):
            shutil.copy(PROJECT / name, root / name)
        self.pin(hashes["uv"], hashes["binary"])
        self.lock("app", tiny="1.0")
        self.lock("test", tiny="1.0", pytest="1.0")
        for package in ("app", "envmanager"):
            (root / package).mkdir()
            (root / package / "__init__.py").touch()
            (root / package / "__main__.py").write_text(MAIN)
        (root / "app" / "screenshots.py").write_text(MAIN)
        self.env = self.environment()

    def environment(self):
        ours = ("PYTHON", "GA3ENV_", "PIP_", "UV_", "XDG_")
        env = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        return env | {
            "HOME": str(self.home),
            "GA3ENV_PYTHON": BASE_PYTHON,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "UV_NO_CONFIG": "1",
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.wheels),
            "UV_CACHE_DIR": str(self.home / "cache"),
        }

    def pin(self, wheel, binary):
        table = f'wheel_sha256 = ["{wheel}"]\nbinary_sha256 = ["{binary}"]\n'
        text = f'[uv]\nversion = "{VERSION}"\n'
        text += "".join(f"[uv.{platform}]\n{table}" for platform in sorted(PLATFORMS))
        (self.root / "external" / "tools.toml").write_text(text)

    def lock(self, level, *, wrong=False, **packages):
        text = ""
        for name, version in packages.items():
            value = "0" * 64 if wrong else self.hashes["tiny2" if version == "2.0" else name]
            text += f"{name}=={version} \\\n    --hash=sha256:{value}\n"
        name = "requirements.lock" if level == "app" else "requirements-test.lock"
        (self.root / name).write_text(text)

    def give_uv(self):
        shutil.copy(UV, self.root / "external" / "UV" / UV_NAME)

    def command(self, *args):
        if WINDOWS:  # what a console does; the outer quotes are cmd's own
            return f'cmd /s /c "{subprocess.list2cmdline([str(self.root / "run.cmd"), *args])}"'
        return [str(self.root / "run"), *args]

    def start(self, *args, cwd=None, command=None, **env):
        return subprocess.Popen(
            command or self.command(*args),
            cwd=cwd or self.home,
            env={k: v for k, v in (self.env | env).items() if v is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, *args, **options):
        process = self.start(*args, **options)
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            end(process)
            raise
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def works(self, *args, **options):
        """Start the app, and give what it saw and what the set-up said."""
        done = self.run(*args, **options)
        assert done.returncode == 7, done.stderr
        return json.loads(done.stdout), done.stderr

    def fails(self, code, *args, **options):
        """Start what must fail; give the message."""
        done = self.run(*args, "--json", **options)
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) == (1, code), done.stderr
        assert done.stderr.endswith(f"error: {error['message']}\nhint: {error['hint']}\n")
        return error["message"]

    def site_packages(self):
        return next(self.root.glob(".venv/[Ll]ib/**/site-packages"))

    def left(self):
        return sorted(p.name for p in (self.root / "external" / "UV").iterdir())
