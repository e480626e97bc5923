"""Checks link by link whether a node's script reaches its module, as it would in NIS-Elements.

The script runs in a process of its own, in the stand-in of NIS's Python: embedded as in 6.x, or out
of process as in 7.x; where an NIS lies on this computer its own Python is taken. The first link
that is broken ends the check, and says what to do.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from envmanager import nodes, workers
from envmanager.connection.frames import judged, sample_frames, takes_rgb
from envmanager.connection.links import LINKS, Link, Node
from envmanager.data.paths import NODE_PACKAGE, DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import Cancelled, ConfigError, GA3EnvError, NotInstalled, ToolFailed
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.machine import nis, nodehost
from envmanager.processes import process
from envmanager.uv.program import Uv
from ga3_nodes import home, params, weights
from ga3_nodes.standin.out_of_process import prepare_site

_STEPS = {
    "not_installed": "install",
    "weights_missing": "weights",
    "client_missing": "script",
    "script_failed": "script",
    "bad_input": "parameters",
    "config_invalid": "system",
    "tool_failed": "system",
    "environment_damaged": "repair",
    "worker_start_failed": "repair",
    "worker_crashed": "repair",
    "module_failed": "try",
}
# Classes of errors, as the script's process names them, and the codes of the same.
_KINDS = {
    "BadInput": "module_failed",
    "ModuleFailed": "module_failed",
    "NotInstalled": "not_installed",
    "WeightsMissing": "weights_missing",
    "ConfigError": "config_invalid",
    "WorkerStartFailed": "worker_start_failed",
    "WorkerCrashed": "worker_crashed",
}
_REFUSALS = ("BadInput", "ModuleFailed")
# What a call fails with that tells nothing against the start of the worker.
_OTHERS = (
    "BadInput",
    "ConfigError",
    "NotInstalled",
    "RuntimeError",
    "WeightsMissing",
    "WorkerCrashed",
)
_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
_LOOK_S = 0.25  # between looks for the worker
_LOG_LINES = 20


def check(
    data: DataFolder,
    settings: Settings,
    node: Node,
    *,
    tell: Callable[[Link], object],
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> list[Link]:
    """Check a node, link after link, until one is broken.

    Parameters
    ----------
    tell : callable
        Gets each link as soon as it is known; `report` gets a stage of its name when it begins.

    Returns
    -------
    list of Link
        All that were told; only the last one can be broken.

    Raises
    ------
    Cancelled
        `cancel` was set; what was started has ended.
    """
    return _Check(data, settings, node, tell, report, cancel or CancelToken()).run()


class _BrokenLink(Exception):
    """It has been told."""


class _Check:
    def __init__(
        self,
        data: DataFolder,
        settings: Settings,
        node: Node,
        tell: Callable[[Link], object],
        report: Report,
        cancel: CancelToken,
    ) -> None:
        self._data, self._settings, self._node = data, settings, node
        self._tell, self._report, self._cancel = tell, report, cancel
        self._links: list[Link] = []
        self._name, self._since = "", 0.0
        self._title = node.module.title
        self._stack = ExitStack()

    def run(self) -> list[Link]:
        try:
            self._link("config", self._config)
            entry = self._link("module", self._module)
            self._link("interpreter", lambda: self._interpreter(entry))
            self._begin("script")
            with self._breaking(), self._stack:
                self._run_script(entry, self._host())
        except _BrokenLink:
            pass
        return self._links

    # ---- telling --------------------------------------------------------------------------------

    def _begin(self, name: str) -> None:
        self._cancel.check()
        self._name, self._since = name, time.monotonic()
        self._report(Stage(name, LINKS[name]))

    def _holds(self, message: str) -> None:
        self._add(Link(self._name, LINKS[self._name], True, self._seconds(), message))

    def _add(self, link: Link) -> None:
        self._links.append(link)
        self._tell(link)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._since, 3)

    def _link(self, name: str, examine: Callable[[], tuple[Any, str]]) -> Any:
        self._begin(name)
        with self._breaking():
            found, message = examine()
        self._holds(message)
        return found

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        """Tell an error as the broken link."""
        try:
            yield
        except Cancelled:
            raise
        except GA3EnvError as error:
            self._broken(error)
            raise _BrokenLink from error
        except OSError as error:  # a folder that may not be written, a full disk
            self._broken(ToolFailed(f"This link could not be checked: {error}."))
            raise _BrokenLink from error

    def _broken(self, error: GA3EnvError) -> None:
        step = _STEPS.get(error.code) or _STEPS.get(type(error).code, "")
        told = (error.message, error.hint, step, error.details)
        self._add(Link(self._name, LINKS[self._name], False, self._seconds(), *told))

    # ---- the links ------------------------------------------------------------------------------

    def _config(self) -> tuple[Path, str]:
        found = [root for root in home.roots(self._data.root) if (root / "config.json").is_file()]
        if not found:
            raise NotInstalled(
                "Nothing is installed yet, so a node finds no installation.",
                f"Install {self._title}.",
            )
        client = home.read_config(found[0]).get("client_dir") or "client"
        if not (found[0] / str(client) / "ga3_nodes" / "node.py").is_file():
            raise ConfigError(
                f"The files that node scripts import are missing in {found[0]}.",
                "Make the script again; that restores them.",
                code="client_missing",
            )
        return found[0], f"The script finds it in {found[0]}."

    def _module(self) -> tuple[home.ModuleEntry, str]:
        node = self._node
        try:
            entry = home.published(node.module.name)
        except NotInstalled:
            raise NotInstalled(f"{self._title} is not installed.", "Install it.") from None
        if node.function not in entry.functions:
            raise GA3EnvError(
                f"The installed {self._title} {entry.version} has no function {node.function!r}.",
                f"Update {self._title}.",
                code="not_installed",
            )
        declared = entry.functions[node.function].get("parameters", {})
        values = params.complete(declared, node.parameters)
        roots = home.roots(entry.root)
        weights.resolve(entry.name, self._title, declared, values, roots)
        used = [values[n] for n, spec in declared.items() if spec["type"] == weights.WEIGHTS]
        told = f"{self._title} {entry.version} on {_device(entry.device)}"
        names = ", ".join(Path(value).name for value in used)
        return entry, f"{told}, with the weights {names}." if names else f"{told}."

    def _interpreter(self, entry: home.ModuleEntry) -> tuple[str, str]:
        command = [str(entry.python), "-I", "-c", _VERSION]
        output = ""
        try:
            finished = process.run(command, cwd=entry.folder, cancel=self._cancel)
            works, output = finished.exit_code == 0, finished.stderr
        except OSError as error:
            works, output = False, str(error)
        if not works or (entry.overlay and not entry.overlay.is_dir()):
            raise GA3EnvError(
                f"The environment of {self._title} is damaged: its Python does not start.",
                f"Repair {self._title}.",
                code="environment_damaged",
                details={"log_tail": output.strip()},
            )
        version = finished.stdout.strip()
        return version, f"Python {version} in {entry.folder}."

    def _host(self) -> tuple[nodehost.NodeHost, str]:
        """Return the Python of NIS, or one like it, and what people call it."""
        found = nis.find(self._settings, self._cancel)
        if found and "numpy" in found.packages:
            site = prepare_site(self._data.node_hosts / "nis")
            host = nodehost.NodeHost(found.python, found.version, site)
            return host, f"NIS-Elements' own Python {found.version}"
        host = nodehost.prepare(self._data, Uv(self._data, self._settings, self._cancel))
        return host, f"Python {host.version}, as NIS-Elements has it"

    # ---- the script -----------------------------------------------------------------------------

    def _run_script(self, entry: home.ModuleEntry, found: tuple[nodehost.NodeHost, str]) -> None:
        """Run it on a grey image; on an RGB one as well where the function refuses the grey one."""
        answer = self._answer(entry, found, in_color=False)
        if answer.get("kind") in _REFUSALS and takes_rgb(self._node.spec):
            answer = self._answer(entry, found, in_color=True)
        if not answer["ok"]:
            self._failed(answer)
        if self._name == "worker":  # it answered, and was gone before anybody looked
            self._holds("It answered.")
            self._begin("result")
        self._holds(self._judged(answer["outputs"]))

    def _answer(
        self, entry: home.ModuleEntry, found: tuple[nodehost.NodeHost, str], *, in_color: bool
    ) -> dict[str, Any]:
        """Run the script once and return what the stand-in says; tell the links on the way."""
        host, called = found
        inside = entry.overlay and _tag(host.version) == entry.python_tag
        looks = _Looks(entry, self._node.module.name)

        def on_line(line: str) -> None:
            if line == "step build" and self._name == "script":
                mode = "inside NIS" if self._node.embedded else "out of process"
                self._holds(f"In {called}, {mode}.")
                self._begin("worker")
                if inside:
                    self._holds("It computes in NIS's Python: no other process is needed.")
                    self._begin("result")

        def on_poll() -> None:
            if self._name == "worker" and (worker := looks.find()):
                self._holds(f"Its worker process runs (PID {worker.pid}).")
                self._begin("result")

        place = Path(self._stack.enter_context(_scratch()))
        environment = {"PYTHONPATH": str(host.site), "PYTHONDONTWRITEBYTECODE": "1"}
        finished = process.run(
            self._command(host, place, in_color=in_color),
            cwd=place,
            env=environment,
            cancel=self._cancel,
            on_line=on_line,
            on_poll=on_poll,
        )
        looks.at_once()
        on_poll()
        return _answer(finished)

    def _command(self, host: nodehost.NodeHost, place: Path, *, in_color: bool) -> list[str | Path]:
        (place / "node.py").write_text(self._node.script, "utf-8")
        command: list[str | Path] = [host.python, "-s", "-B", "-X", "utf8"]
        command += [NODE_PACKAGE / "standin", "--script", place / "node.py"]
        command += ["--version", str(self._node.nis), "--output-dir", place / "out"]
        for index, frame in enumerate(sample_frames(self._node.spec, in_color=in_color)):
            np.save(place / f"{index}.npy", frame)
            command += ["--input", place / f"{index}.npy"]
        for kind in nodes.output_kinds(self._node.spec):
            command += ["--output", kind]
        if not self._node.embedded:
            command += ["--python", host.python, "--site", host.site]
        return [*command, "--json", "--steps"]

    def _failed(self, answer: Mapping[str, Any]) -> None:
        """Raise what the script raised."""
        kind = str(answer.get("kind", answer.get("error", "")))
        message, _, trace = str(answer.get("message", "")).partition("\n")
        if self._name == "worker" and kind in _OTHERS:
            if kind == "WorkerCrashed":  # before anybody looked
                self._holds("It answered.")
            self._begin("result")
        message = message.removeprefix("run: ").removeprefix(f"{kind}: ")
        code = "worker_start_failed" if self._name == "worker" else _KINDS.get(kind, "node_failed")
        hint = "" if kind in _KINDS else "Look at the details, and at the log of the worker."
        if self._name == "script":
            hint = "Make the script again, or correct what you changed in it."
            code = "script_failed"
        details = {"traceback": trace, "log_tail": str(answer.get("log", ""))}
        raise GA3EnvError(message or kind, hint, code=code, details=details)

    def _judged(self, outputs: Sequence[str]) -> str:
        """Say what the outputs are; raise where they are not what the function declares."""
        found = zip(self._node.spec["outputs"], nodes.output_kinds(self._node.spec), strict=True)
        told = [
            judged(name, kind, Path(path))
            for (name, kind), path in zip(found, outputs, strict=True)
        ]
        return f"{'; '.join(told)}."


class _Looks:
    """Looks for the module's worker, not all the time."""

    def __init__(self, entry: home.ModuleEntry, module: str) -> None:
        self._data, self._module = DataFolder(entry.root), module
        self._next = 0.0

    def at_once(self) -> None:
        """Look at the next question, whenever the last one was."""
        self._next = 0.0

    def find(self) -> workers.Worker | None:
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _LOOK_S
        found = workers.live(self._data, self._module)
        return next((worker for worker in found if worker.responding), None)


def _answer(finished: process.Finished) -> dict[str, Any]:
    """Return what the stand-in reports in its last line."""
    try:
        answer: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
        return answer
    except (ValueError, IndexError):
        raise ToolFailed(
            f"The Python that stands for NIS ended with exit code {finished.exit_code}.",
            "Look at the details.",
            code="standin_failed",
            details={"log_tail": "\n".join(finished.stderr.splitlines()[-_LOG_LINES:])},
        ) from None


def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ga3-check-", ignore_cleanup_errors=True)


def _device(device: str) -> str:
    return "the CPU" if device == "cpu" else f"the GPU ({device})"


def _tag(version: str) -> str:
    """Return the `sys.implementation.cache_tag` of a CPython."""
    return "cpython-" + "".join(version.split(".")[:2])
