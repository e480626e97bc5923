"""Real commands on a real data folder, faults in them, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from envmanager import workers
from envmanager.data.paths import APP, DataFolder
from envmanager.doctor import checklist
from ga3_nodes import client, home
from tests.faults import mini

PATIENCE_S = 120.0  # against a test that hangs; nothing is measured by it
_VERSION = re.compile(r"(mini_\w+)-\d\.0")
_NOT_COMPARED = {"uv-cache", "logs", "run", "__pycache__"}


@dataclass
class Command:
    """A command of the CLI in a process of its own; what it says is read while it runs."""

    process: subprocess.Popen[str]
    started: float = field(default_factory=time.monotonic)
    stages: list[float] = field(default_factory=list)  # seconds after the start
    said: list[str] = field(default_factory=list)
    out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=target, daemon=True)
            for target in (self._read_stages, self._read_out)
        ]
        for reader in self._readers:
            reader.start()

    def _read_stages(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._news:
                self.said.append(line.rstrip())
                if line.rstrip().endswith(" ..."):
                    self.stages.append(time.monotonic() - self.started)
                self._news.notify_all()

    def _read_out(self) -> None:
        assert self.process.stdout
        self.out.append(self.process.stdout.read())

    def wait_for_stage(self, number: int) -> bool:
        """Wait until the stage begins; False where the command ended before."""
        return self._wait(lambda: len(self.stages) > number)

    def wait_until_said(self, text: str) -> bool:
        """Wait until a line on stderr holds the text; False where the command ended before."""
        return self._wait(lambda: any(text in line for line in self.said))

    def _wait(self, there: Any) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        with self._news:
            while not there():
                if self.process.poll() is not None or time.monotonic() > deadline:
                    return there()
                self._news.wait(0.05)
        return True

    def kill(self, *, all_of_it: bool = False) -> list[psutil.Process] | None:
        """Kill the command alone, or with all that it started; return what is left of these.

        None where the command had ended before.
        """
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.process.pid)
            process.suspend()  # nothing more is started while we look
            family = process.children(recursive=True)
        ended = self.process.poll() is not None
        self.process.kill()
        if all_of_it:
            for child in family:
                with contextlib.suppress(psutil.Error):
                    child.kill()
        self.end()
        return None if ended else family

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()
        self.seconds = time.monotonic() - self.started
        return self.process.returncode

    @property
    def reply(self) -> dict[str, Any]:
        """The JSON object that it printed."""
        self.end()
        return json.loads("".join(self.out))

    @property
    def error(self) -> dict[str, Any]:
        """The error that it printed; it must have failed with one."""
        reply = self.reply
        assert not reply["ok"], reply
        assert reply["error"]["message"], reply
        assert reply["error"]["hint"], reply
        assert reply["error"]["code"] != "internal", reply
        return reply["error"]


@dataclass
class Bench:
    """A data folder, the commands on it, and the questions that each test ends with."""

    root: Path
    wheels: mini.Wheels
    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    @property
    def data(self) -> DataFolder:
        """The data folder as the engine sees it."""
        return DataFolder(self.root)

    def start(self, *words: str) -> Command:
        """Start a command of the CLI."""
        process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "envmanager", *words, "--json"],
            cwd=APP,
            env={**os.environ, "GA3ENV_HOME": str(self.root), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        return Command(process)

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command that must be well; return its data."""
        reply = self.start(*words).reply
        assert reply["ok"], reply
        return reply["data"]

    def fail(self, *words: str) -> dict[str, Any]:
        """Run a command that must tell an error; return that."""
        return self.start(*words).error

    def change_module(self, version: int) -> None:
        """Let the module's folder hold another version."""
        self.wheels.write_module(self.root / "modules", version)

    def published(self) -> tuple[int, int] | None:
        """Return generation and version of what ``config.json`` publishes."""
        found = home.read_config(self.root)["modules"].get(mini.NAME)
        return (found["generation"], int(found["version"].partition(".")[0])) if found else None

    def segment(self, **parameters: Any) -> list[list[int]]:
        """Segment the image as a node does."""
        outputs = client.call(mini.NAME, "segment", {"image": mini.IMAGE}, parameters)
        return outputs["labels"].tolist()

    def stop_workers(self) -> None:
        """End all workers, so that the next call starts a new one."""
        client.close()
        workers.stop(self.data, mini.NAME, PATIENCE_S)
        assert not workers.live(self.data, mini.NAME)

    def works(self) -> int:
        """Segment in a new worker; the mask is that of the published version, which is returned."""
        self.stop_workers()
        found = self.published()
        assert found, "nothing is published"
        try:
            assert self.segment() == mini.mask(found[1])
        finally:
            self.stop_workers()
        return found[1]

    def is_green(self, *, but: str = "") -> None:
        """Doctor finds nothing wrong, `but` for one check."""
        checks = checklist.checks(self.data, checklist.usable_settings(self.data))
        wrong = [c for c in checks if c.status == "error" and c.id != but]
        assert not wrong

    def shape(self) -> set[str]:
        """Return all paths of the data folder; generations are called by age, without versions."""
        module = self.root / "envs" / mini.NAME
        numbers = sorted(
            (int(p.name) for p in module.glob("*") if p.name.isdecimal()), reverse=True
        )
        found = set()
        for folder, below, files in os.walk(self.root):
            below[:] = [name for name in below if name not in _NOT_COMPARED]
            for name in [*below, *files]:
                parts = list(Path(folder, name).relative_to(self.root).parts)
                if parts[:2] == ["envs", mini.NAME] and len(parts) > 2 and parts[2].isdecimal():
                    parts = [_VERSION.sub(r"\1-N", part) for part in parts]
                    parts[2] = f"newest-{numbers.index(int(parts[2]))}"
                found.add("/".join(parts))
        return found - {"leases"}  # the first worker makes it; what lies in it does count

    def cache_litter(self) -> list[str]:
        """Return what uv began to unpack into its cache and nobody will ever use."""
        return [path.name for path in (self.root / "uv-cache").glob(".tmp*")]

    def whole(self, expected: set[str]) -> None:
        """All is well: it segments, doctor is green, and nothing is left lying about."""
        self.works()
        self.is_green()
        self.as_clean_as(expected)

    def as_clean_as(self, expected: set[str]) -> None:
        """The data folder holds what it holds after the same commands without a fault."""
        found = self.shape()
        assert not found - expected, f"litter: {sorted(found - expected)[:20]}"
        assert not expected - found, f"missing: {sorted(expected - found)[:20]}"
        assert not self.cache_litter()


def copy(template: Path, root: Path) -> None:
    """Copy a data folder; what nobody changes in place is linked, since that takes no time."""
    linked = ("envs", "client", "uv-cache")
    for path in template.iterdir():
        if not path.is_dir():
            shutil.copy2(path, root)
        elif path.name in linked:
            shutil.copytree(path, root / path.name, symlinks=True, copy_function=_link)
        elif path.name not in ("run", "logs"):
            shutil.copytree(path, root / path.name)


def _link(source: str, target: str) -> None:
    if source.endswith(".lock"):  # what is locked in one folder is free in the other
        shutil.copy2(source, target)
    else:
        os.link(source, target)


def replace_file(path: Path, content: bytes) -> None:
    """Change a file that a template may share: by a new one in its place."""
    path.unlink()
    path.write_bytes(content)


def gone(processes: list[psutil.Process]) -> None:
    """Wait for the end of what a killed command left running."""
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_S)
    assert not alive, f"these do not end by themselves: {alive}"


def copy_apart(template: Path, root: Path) -> None:
    """Copy a data folder to another disk; what is linked within it is linked there too."""
    known: dict[int, str] = {}

    def copy_file(source: str, target: str) -> None:
        inode = Path(source).stat().st_ino
        if inode in known:
            os.link(known[inode], target)
        else:
            shutil.copy2(source, target)
            known[inode] = target

    shutil.copytree(template, root, symlinks=True, copy_function=copy_file, dirs_exist_ok=True)
