"""The few uv commands that the engine needs, each with its traps noted."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envmanager.data import fulldisk
from envmanager.data.paths import DataFolder, base_python, uv_binary
from envmanager.data.settings import Settings
from envmanager.errors import ToolFailed
from envmanager.events import CancelToken
from envmanager.processes import process
from envmanager.uv import cache as uv_cache
from envmanager.uv import network, pythons

# What an administrator may say about the network; all else would change an environment.
_KEPT = frozenset(
    """
    UV_DEFAULT_INDEX UV_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_HTTP_TIMEOUT
    UV_INSECURE_HOST UV_KEYRING_PROVIDER UV_NATIVE_TLS UV_SYSTEM_CERTS UV_OFFLINE
    UV_PYTHON_INSTALL_MIRROR UV_CONCURRENT_DOWNLOADS UV_PYTHON_DOWNLOADS
    UV_PYTHON_DOWNLOADS_JSON_URL
    """.split()
)
# The index that wheels from files are said to come from: see `packages.wheelhouse`. uv never looks
# into it. Its cache keeps wheels by this address, so it must stay as it is; with a drive letter it
# is that of a folder on every system.
WHEELHOUSE = "file:///C:/ga3env-wheels"
# What uv says where it finds no Python of that name, or what is found is none.
_NO_PYTHON = ("No interpreter found", "Invalid version request", "Failed to inspect")
_IN_CACHE = re.compile(r"^DEBUG Registry requirement already cached: ([\w.-]+)==")
# Lets uv say which packages its cache lacks: `environments.downloads` reads it.
_TELLING = "uv_installer::plan=debug,uv_client::cached_client=debug"


@dataclass(frozen=True)
class Uv:
    """The pinned uv, with the user's settings and the data folder's cache and interpreters.

    `variables` are more variables of its environment. `platform` and `python_version` are those of
    another computer to resolve for, as uv names them.
    """

    data: DataFolder
    settings: Settings
    cancel: CancelToken | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    python_version: str = ""

    @property
    def offline(self) -> bool:
        """Whether the user, or an administrator, wants no network."""
        wanted = os.environ.get("UV_OFFLINE", "").lower()
        return self.settings.offline or wanted in ("1", "true", "yes", "on", "t", "y")

    def version(self) -> str:
        """Return uv's version."""
        return self._run("version", "--version", cwd=self.data.root).stdout.split()[1]

    def make_venv(self, venv: Path, python: str) -> None:
        """Make an empty virtual environment; uv fetches a Python where none of the system fits.

        Raises
        ------
        ToolFailed
            There is no such Python (code ``no_such_python``), or it could not be fetched.
        """
        found = self.find_python(python) or python
        try:
            self._run("make the environment", "venv", "--python", found, venv, cwd=venv.parent)
        except ToolFailed as error:
            if not any(told in error.message for told in _NO_PYTHON):
                raise
            raise ToolFailed(
                error.message,
                "Name another Python: a version such as 3.12, or the full path of one that is here "
                "(./run doctor tells which was found).",
                code="no_such_python",
                details=error.details,
            ) from error

    def resolve(
        self, wanted: Path, python: Path, pylock: Path, constraints: Sequence[Path] = ()
    ) -> None:
        """Resolve a lock or a ``pyproject.toml`` for a machine into a ``pylock.toml``.

        The hashes of a lock are not enforced here: `lockfile.check` does that.
        """
        arguments: list[str | Path] = [
            "pip",
            "compile",
            wanted,
            "--generate-hashes",
            "--format",
            "pylock.toml",
        ]
        arguments += ["--python", python, "-o", pylock, "--no-header", *self._sources()]
        if self.platform:
            arguments += ["--python-platform", self.platform]
        if self.python_version:
            arguments += ["--python-version", self.python_version]
        for file in [*constraints, *self._constraint_files(pylock.parent)]:
            arguments += ["--constraints", file]
        self._run("resolve the packages", *arguments, cwd=pylock.parent)

    def lock(self, pyproject: Path, lock: Path) -> None:
        """Resolve the newest versions that a ``pyproject.toml`` allows into a universal lock.

        Without the Python's version the lock would hold nothing for versions older than that of
        whichever Python uv comes across.
        """
        arguments: list[str | Path] = ["pip", "compile", pyproject, "--universal", "-o", lock]
        arguments += ["--generate-hashes", "--no-header", "--upgrade", *self._sources()]
        arguments += ["--python", base_python(), "--python-version", pythons.oldest(pyproject)]
        arguments.append("--no-build")  # an install takes wheels only: better said here
        for file in self._constraint_files(lock.parent):
            arguments += ["--constraints", file]
        self._run("find new versions", *arguments, cwd=lock.parent)

    def sync(
        self,
        pylock: Path,
        python: Path,
        on_line: Callable[[str], None],
        on_poll: Callable[[], None],
        damaged: Sequence[str] = (),
        target: Path | None = None,
    ) -> None:
        """Install exactly what a ``pylock.toml`` lists; only wheels, each with its hash.

        `damaged` names packages whose files in uv's cache have changed: they are fetched anew.
        `target` is a plain folder to install into; the wheels are still those for `python`.
        """
        arguments = _syncing(pylock, python, target)
        for package in damaged:
            arguments += ["--refresh-package", package, "--reinstall-package", package]
        self._run(
            "install the packages",
            *arguments,
            cwd=pylock.parent,
            env=self._to_sync(),
            on_line=on_line,
            on_poll=on_poll,
        )

    def linked_from_cache(self, pylock: Path, python: Path, target: Path | None = None) -> set[str]:
        """Return the packages of a ``pylock.toml`` that uv would link from its cache unasked.

        Only of wheels from files can it say so beforehand; it installs nothing and asks nobody.
        """
        lines: list[str] = []
        self._run(
            "look into its cache",
            *_syncing(pylock, python, target),
            "--dry-run",
            "--offline",
            cwd=pylock.parent,
            env=self._to_sync(),
            on_line=lines.append,
        )
        return {match[1] for line in lines if (match := _IN_CACHE.match(line))}

    def check(self, python: Path) -> None:
        """Check that the installed packages fit each other (their metadata alone)."""
        self._run("check the packages", "pip", "check", "--python", python, cwd=self.data.root)

    def clean_cache(self, *, everything: bool) -> None:
        """Remove what no entry of the cache refers to, or all of it; waits for other uv runs."""
        action = "clean" if everything else "prune"
        self._run("clean its cache", "cache", action, cwd=self.data.root)

    def install_into(self, folder: Path, lock: Path, python: Path) -> None:
        """Install a lock's packages into a plain folder, without an environment."""
        arguments: list[str | Path] = [
            "pip",
            "install",
            "--target",
            folder,
            "--python",
            python,
            "-r",
            lock,
        ]
        arguments += ["--require-hashes", "--no-build", *self._sources()]
        self._run("install the packages", *arguments, cwd=folder.parent)

    def find_python(self, request: str) -> Path | None:
        """Return an interpreter that fits a version, range or path, or None where there is none."""
        arguments = ["python", "find", "--no-project", "--system", "--no-python-downloads", request]
        finished = self._finish(*arguments, cwd=self.data.root, env={"PATH": _python_path()})
        return Path(finished.stdout.strip()) if finished.exit_code == 0 else None

    def version_of(self, python: Path) -> str:
        """Return the version of an interpreter: ``3.12.4``."""
        words = ["python", "find", "--no-project", "--no-python-downloads", "--show-version"]
        asked = self._run(f"ask {python} for its version", *words, python, cwd=self.data.root)
        return asked.stdout.strip()

    def fetch_python(self, name: str, archives: Path) -> Path:
        """Fetch the archive of a Python, for any system; return it.

        uv knows the sha256 of each, and compares it.

        Parameters
        ----------
        name : str
            As uv names it, such as ``cpython-3.12-windows-x86_64-none``.
        archives : Path
            The folder for it: what is there already is not fetched again.
        """
        with tempfile.TemporaryDirectory(prefix="ga3-python-") as place:
            words = ["python", "install", "--install-dir", place, name]
            env = {"UV_PYTHON_CACHE_DIR": str(archives), "UV_PYTHON_INSTALL_BIN": "0"}
            env["UV_PYTHON_INSTALL_REGISTRY"] = "0"  # it is not for this computer
            self._run(f"fetch {name}", *words, cwd=self.data.root, env=env)
            (folder,) = Path(place).glob("cpython-*.*.*")
            version, system = folder.name.split("-")[1:3]
        found = archives.glob(f"*cpython-{version}*{system}*.tar.*")
        return max(found, key=lambda path: path.stat().st_mtime)

    def _sources(self) -> list[str]:
        arguments = [f"--find-links={place}" for place in self.settings.find_links]
        arguments += [f"--index={url}" for url in self.settings.extra_index_urls]
        if self.settings.index_url:
            arguments.append(f"--default-index={self.settings.index_url}")
        return arguments

    def _to_sync(self) -> dict[str, str]:
        """Return the variables of a sync.

        It looks into no index, but has the passwords of those that it is told of; the addresses in
        a ``pylock.toml`` have none.
        """
        chosen = self.settings
        known = (chosen.index_url, *chosen.extra_index_urls, chosen.torch_index)
        secret = [url for url in known if "@" in url]
        indexes = [os.environ.get("UV_INDEX", ""), *secret, WHEELHOUSE]
        return {"RUST_LOG": _TELLING, "UV_INDEX": " ".join(filter(None, indexes))}

    def _constraint_files(self, folder: Path) -> list[Path]:
        if not self.settings.constraints:
            return []
        path = folder / "constraints.txt"
        path.write_text("\n".join(self.settings.constraints) + "\n", "utf-8")
        return [path]

    def _run(
        self,
        task: str,
        *arguments: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        on_poll: Callable[[], None] | None = None,
    ) -> process.Finished:
        finished = self._finish(*arguments, cwd=cwd, env=env, on_line=on_line, on_poll=on_poll)
        finished = replace(finished, stderr=_without_debug(finished.stderr))
        if finished.exit_code:
            if fulldisk.told_in(finished.stderr):
                places = (self.data.root, self.data.uv_cache, cwd)
                raise fulldisk.failure(*places, log_tail=finished.stderr[-4000:])
            raise ToolFailed(
                f"uv could not {task}: {_reason(finished.stderr)}",
                "Check the network connection and the settings (proxy, certificates, "
                "index_url, find_links), then run the command again.",
                details={"exit_code": finished.exit_code, "log_tail": finished.stderr[-4000:]},
            )
        return finished

    def _finish(
        self,
        *arguments: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        on_poll: Callable[[], None] | None = None,
    ) -> process.Finished:
        binary = uv_binary()
        if not binary.is_file():
            raise ToolFailed(
                f"uv is missing: there is no {binary}.",
                "Start the app with ./run (Windows: run.cmd), which fetches it.",
                code="uv_missing",
            )
        environment = {
            **{name: value for name, value in os.environ.items() if name in _KEPT},
            **network.environment(self.settings),
            "UV_CACHE_DIR": str(self.data.uv_cache),
            "UV_PYTHON_INSTALL_DIR": str(self.data.python),
            "UV_NO_CONFIG": "1",  # a uv.toml above the data folder must not change an environment
            "UV_NO_PROGRESS": "1",
            "UV_LINK_MODE": "hardlink",  # symlinks into the cache would break when it is cleaned
            **self.variables,
            **(env or {}),
        }
        try:
            return process.run(
                [binary, *arguments],
                cwd=cwd,
                env=environment,
                cancel=self.cancel,
                on_line=on_line,
                on_poll=on_poll,
            )
        except BaseException:  # Ctrl-C too: half a wheel may have gigabytes
            uv_cache.sweep(self.data.uv_cache)
            raise


def _syncing(pylock: Path, python: Path, target: Path | None) -> list[str | Path]:
    """Return the words of a sync: only wheels, each with its hash."""
    words: list[str | Path] = ["pip", "sync", pylock, "--python", python]
    words += ["--require-hashes", "--no-build", "--preview-features", "pylock"]
    return [*words, "--target", target] if target else words


def _without_debug(stderr: str) -> str:
    """Return uv's output without what `_TELLING` adds."""
    return "".join(line for line in stderr.splitlines(True) if not line.startswith("DEBUG "))


def _python_path() -> str:
    """Return where to look for interpreters: the app's own first, then the PATH.

    In the place of pyenv's shims, which answer for one version only, stand its versions.
    """
    places = [str(base_python().parent)]
    for place in os.environ.get("PATH", "").split(os.pathsep):
        versions = Path(place).parent.glob("versions/*/bin") if place.endswith("shims") else ()
        places += [str(version) for version in versions] or [place]
    return os.pathsep.join(places)


def _reason(stderr: str) -> str:
    """Return the part of uv's output that tells the user most: from its ``error:`` line on."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith(("error:", "×")):
            return " ".join(lines[number : number + 8]).removeprefix("error:").strip()[:900]
    return (lines[-1] if lines else "it gave no reason")[:900]
