"""The run folder: what was done with which versions, enough to repeat it and to go on later.

``<output folder>/runs/<time>-<name>/`` holds ``run.json``, ``pipeline.yaml`` and ``images.jsonl``,
to which each image adds a line as it is done: a run that is killed loses nothing of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from envmanager.data import files, fulldisk
from envmanager.environments.generations import read_manifest, sha256
from envmanager.errors import ImageError, ModuleInUse
from ga3_nodes import __version__, home, locks, weights

if TYPE_CHECKING:
    from envmanager.pipelines.plan import Call, Load, Plan

RUNS = "runs"
SCHEMA = 1
_IMAGES, _RUN, _PIPELINE = "images.jsonl", "run.json", "pipeline.yaml"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class ImageRecord:
    """What became of one image.

    Attributes
    ----------
    state : str
        ``done``, ``skipped`` (an earlier run has done it) or ``failed``.
    key : str
        Hash of all that its result depends on.
    outputs : list of dict
        ``path`` and ``size`` in bytes, which is None for a folder.
    seconds : float
        Time inside of the modules.
    host : str
        The machine of a cluster that did it.
    """

    input: str
    state: str
    key: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    objects: int = 0
    seconds: float = 0.0
    devices: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    finished: float = 0.0
    host: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, without what says nothing."""
        return {name: value for name, value in vars(self).items() if value not in ([], None, "")}


class RunFolder:
    """The folder of one run."""

    def __init__(self, root: Path, plan: Plan, facts: dict[str, Any]) -> None:
        self._facts = facts
        self.path = _new_folder(root / RUNS, plan.name)
        self._started = time.time()
        files.write_text(self.path / _PIPELINE, plan.text)
        self._write("running", {})

    def add(self, record: ImageRecord) -> None:
        """Add an image.

        Raises
        ------
        DiskFull
            There is no room for a line.
        """
        line = json.dumps(record.as_dict(), ensure_ascii=False) + "\n"
        with fulldisk.named(self.path), (self.path / _IMAGES).open("a", encoding="utf-8") as file:
            file.write(line)

    def end(self, state: str, told: Mapping[str, Any]) -> None:
        """Write how the run ended: ``done``, ``cancelled`` or ``stopped``."""
        self._write(state, told)

    def _write(self, state: str, told: Mapping[str, Any]) -> None:
        ended = {} if state == "running" else {"ended": time.time(), "images": self._images()}
        run = {"schema": SCHEMA, "state": state, "started": self._started, **ended, **told}
        text = json.dumps(run | self._facts, indent=2, ensure_ascii=False, default=str)
        files.write_text(self.path / _RUN, text + "\n")

    def _images(self) -> list[dict[str, Any]]:
        return list(_lines(self.path / _IMAGES))


def _new_folder(runs: Path, name: str) -> Path:
    """Make a folder whose name no other run has."""
    word = re.sub(r"[^\w-]+", "-", name).strip("-_")[:40] or "pipeline"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number = 1
    with fulldisk.named(runs):
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            folder = runs / (f"{stamp}-{word}" + (f"-{number}" if number > 1 else ""))
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder


@contextmanager
def sole(root: Path) -> Iterator[None]:
    """Be the only run that writes into an output folder.

    Raises
    ------
    ModuleInUse
        Another one does.
    ImageError
        The folder cannot be written to.
    """
    lock = locks.FileLock(root / RUNS / "run.lock", public=True)
    try:
        with fulldisk.named(root):
            (root / RUNS).mkdir(parents=True, exist_ok=True)
        is_mine = lock.acquire(0.5)
    except OSError as error:
        raise ImageError(
            f"{root} cannot be written to: {error.strerror or error}.",
            "Choose an output folder that you may write to.",
        ) from error
    if not is_mine:
        note = locks.read_note(lock.path)
        raise ModuleInUse(
            f"Another run writes into {root} (PID {note.get('pid', '?')}).",
            "Wait until it is done, or choose another output folder.",
            code="run_in_progress",
        )
    try:
        lock.write_note({"pid": os.getpid(), "since": time.time()})
        yield
    finally:
        lock.release()


# ---- what was done before ------------------------------------------------------------------------


def finished(root: Path) -> dict[str, ImageRecord]:
    """Return the images that earlier runs have done and whose files are still there, by key."""
    found: dict[str, ImageRecord] = {}
    for path in sorted((root / RUNS).glob(f"*/{_IMAGES}")):
        for line in _lines(path):
            with suppress(TypeError):  # of another version
                record = ImageRecord(**line)
                if record.state == "done" and record.key:
                    found[record.key] = record
    return found


def written(root: Path) -> set[str]:
    """Return the paths of all files that runs with this output folder have saved."""
    lines = (line for path in (root / RUNS).glob(f"*/{_IMAGES}") for line in _lines(path))
    found = (one for line in lines for one in line.get("outputs") or [])
    return {one["path"] for one in found if isinstance(one, dict) and "path" in one}


def is_whole(record: ImageRecord) -> bool:
    """Tell whether the files of an image lie where they were written, as long as they were."""
    for output in record.outputs:
        try:
            found = Path(output["path"]).stat()
        except OSError:
            return False
        if output["size"] is not None and found.st_size != output["size"]:
            return False
    return bool(record.outputs)


def output_record(path: Path) -> dict[str, Any]:
    """Return path and size of a file that was written."""
    return {"path": str(path), "size": None if path.is_dir() else path.stat().st_size}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Give the lines of a file; what a killed run has half written is left out."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


# ---- what a result depends on --------------------------------------------------------------------


def key(path: Path, load: Load, work: Any, outputs: Sequence[str]) -> str:
    """Return the hash of all that the result for one image depends on.

    Parameters
    ----------
    work
        The facts of the steps, see `call_facts`, and what is saved.
    outputs : sequence of str
        Where its files go.
    """
    facts = [*_identity(path), str(load.selection), work, list(outputs)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _identity(path: Path) -> list[Any]:
    """Return path, size and modification time; of a folder those of all files at its top."""
    inside = sorted(path.iterdir()) if path.is_dir() else []
    stats = [(one.name, one.stat()) for one in (path, *inside)]
    return [str(path), [(name, found.st_size, found.st_mtime_ns) for name, found in stats]]


def call_facts(call: Call) -> dict[str, Any]:
    """Return what the result of a step depends on: versions, hashes, parameters.

    Raises
    ------
    NotInstalled, ConfigError
        The module has no usable environment any more.
    """
    entry = home.published(call.module)
    manifest = read_manifest(entry.folder) or {}
    lock = entry.folder / "requirements.lock"
    return {
        "step": call.name,
        "module": call.module,
        "version": entry.version,
        "function": call.function,
        "source_sha256": manifest.get("source_sha256", ""),
        "lock_sha256": sha256(lock) if lock.is_file() else "",
        "packages": manifest.get("packages", {}),
        "parameters": dict(call.parameters),
        "weights": _weights(call, entry),
        "loop": sorted(call.loop),
        "inputs": {name: list(ref) for name, ref in call.inputs.items()},
    }


def place_facts(call: Call) -> dict[str, Any]:
    """Return where a step runs: what tells nothing about its result on a CPU."""
    entry = home.published(call.module)
    python = (read_manifest(entry.folder) or {}).get("python", "")
    return {"generation": entry.generation, "device": entry.device, "python": python}


def _weights(call: Call, entry: home.ModuleEntry) -> dict[str, str]:
    """Return the sha256 of the weights that each parameter names."""
    declared = entry.functions[call.function]["parameters"]
    names = [name for name, spec in declared.items() if spec["type"] == weights.WEIGHTS]
    given, roots = dict(call.parameters), home.roots(entry.root)
    if not names:
        return {}
    resolved = weights.resolve(call.module, entry.title, declared, given, roots)
    return {name: _hash_of(Path(resolved[name])) for name in names}


def _hash_of(path: Path) -> str:
    """Return the sha256 of a file, or of all names and files of a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.relative_to(path.parent).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def machine_facts() -> dict[str, Any]:
    """Return what is to be known of this computer to repeat a run."""
    return {
        "name": platform.node(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "app_version": __version__,
        "environment": {name: os.environ[name] for name in _THREADS if name in os.environ},
    }
