"""A module's function as a GA3 node needs it: from NIS's arrays to its binaries, channels, tables.

>>> node = ExternalModuleNode("classic", "segment", title="Cells")    # doctest: +SKIP
>>> outputs = {"labels": out[0]}                                      # doctest: +SKIP
>>> node.call_worker([inp[0].data], {"smoothing": 2.0}, ctx=ctx, out=outputs)  # doctest: +SKIP

Whatever fails raises a `GA3EnvError`, whose text is one sentence and the next step: an output is
never left empty in silence.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ga3_nodes import client, frames, home
from ga3_nodes.client import Result
from ga3_nodes.errors import BadInput, GA3EnvError, NotInstalled

_Frames = dict[str, np.ndarray]


class ExternalModuleNode:
    """One function of a module.

    Parameters
    ----------
    module, function : str
        Their names in ``module.toml``.
    title : str, optional
        What users know the module by.
    """

    def __init__(self, module: str, function: str = "segment", *, title: str = "") -> None:
        self.module = module
        self.function = function
        self.title = title or module
        self._outputs: dict[str, Any] = {}

    def prewarm(self) -> None:
        """Let the module load in the background; return at once, and raise nothing."""
        client.prewarm(self.module)

    def call_worker(
        self,
        data: np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray],
        parameters: Mapping[str, Any] | None = None,
        *,
        ctx: Any = None,
        timeout: float | None = None,
        out: Mapping[str, Any] | None = None,
    ) -> Result:
        """Call the function with arrays of NIS.

        Parameters
        ----------
        data : ndarray, or several
            The inputs (z, y, x, component): one, in the declared order, or by name.
        parameters : mapping, optional
            Values that differ from the module's defaults.
        ctx : object, optional
            NIS's context: its Abort ends the call.
        timeout : float, optional
            Seconds until the call is given up, for each slice where it goes slice by slice; without
            limit by default.
        out : mapping, optional
            Outputs of NIS by the names of what is written into them, such as
            ``{"labels": out[0]}``, as `write` does. They are written when all of them fit: where
            this raises, nothing is, unless NIS itself refuses the second of two tables.

        Returns
        -------
        Result
            The outputs by name, also those that were written. Arrays are overwritten by the next
            call; labels written into a binary of int32 are a view of it.

        Raises
        ------
        NotInstalled, ConfigError
            There is no usable installation.
        BadInput
            The function does not take such arrays or parameters, or an output of NIS is of another
            kind, type or size than what it gives.
        GA3EnvError
            As for `client.call`.
        """
        cancelled = _abort_of(ctx)
        spec = self._published(cancelled).functions.get(self.function)
        if spec is None:
            raise BadInput(
                f"{self.title} has no function {self.function!r}.",
                "Generate the node's script anew.",
                code="unknown_function",
            )
        self._outputs = spec["outputs"]
        arrays = _by_name(data, spec["inputs"], self.title)
        axes = {
            name: frames.axes_for(spec["inputs"][name]["axes"], frame.shape[0], frame.shape[3])
            for name, frame in arrays.items()
        }
        targets = dict(out or {})
        binaries = self._binaries(targets, next(iter(arrays.values())))
        others = {name: one for name, one in targets.items() if name not in binaries}
        accept = functools.partial(self._write_all, others)
        call = _Call(self, parameters or {}, timeout, cancelled, binaries, accept)
        if all(axes.values()):
            result = call.run(arrays, {name: found or "" for name, found in axes.items()})
        else:
            result = call.run_slices(arrays, spec)
        for note in result.notes:
            print(f"{self.title}: {note}")  # to NIS's log
        return result

    def write(self, out: Any, name: str, value: Any) -> None:
        """Write one result into an output of NIS: a binary, a channel or a table.

        Parameters
        ----------
        out : object
            NIS's output, such as ``out[0]``.
        name : str
            The output's name in ``module.toml``.
        value : ndarray or dict
            What `call_worker` returned under that name, maybe changed.

        Raises
        ------
        BadInput
            There is no such output, or the node's output is of another kind.
        ModuleFailed
            The result does not fit its declaration or the node's output.
        """
        self._ready(name, out, value)()

    def _write_all(self, out: Mapping[str, Any], result: Result) -> None:
        """Write results, when all of them fit; tables first, since NIS may refuse them itself."""
        tables = [name for name in out if self._outputs[name]["kind"] == "table"]
        arrays = [name for name in out if name not in tables]
        for write in [self._ready(name, out[name], result[name]) for name in tables + arrays]:
            write()

    def _ready(self, name: str, out: Any, value: Any) -> frames.Write:
        """Return what writes a result into an output of NIS."""
        spec = self._declared(name, out)
        if spec["kind"] == "table":
            columns = frames.columns(name, spec.get("columns", []), value)
            return lambda: _fill(out, name, columns)
        ready = frames.ready_labels if spec["kind"] == "labels" else frames.ready_image
        return ready(out.data, np.asarray(value))

    def _binaries(self, out: Mapping[str, Any], frame: np.ndarray) -> _Frames:
        """Check NIS's outputs; return the arrays that take labels as they are, of int32.

        Parameters
        ----------
        frame : ndarray
            The first input, on which labels lie.
        """
        found = {}
        for name, target in out.items():
            if self._declared(name, target)["kind"] == "labels":
                binary = target.data
                frames.check_binary(binary, name, frame.shape)
                if binary.dtype == np.int32:
                    found[name] = binary
        return found

    def _declared(self, name: str, out: Any) -> Mapping[str, Any]:
        """Return the declaration of an output, where NIS's output is of that kind."""
        spec: Mapping[str, Any] | None = self._outputs.get(name)
        if spec is None:
            raise BadInput(
                f"{self.title} has no output {name!r}.", "Generate the node's script anew."
            )
        is_table, takes_table = spec["kind"] == "table", hasattr(out, "withColData")
        if isinstance(out, np.ndarray) or not (takes_table or hasattr(out, "data")):
            raise BadInput(
                f"What shall take {name!r} is {type(out)}, no output of NIS.",
                "Pass the output itself, such as out[0].",
            )
        if takes_table != is_table:
            raise BadInput(
                f"The output {name!r} of {self.title} is {_a_kind(spec['kind'])}, but the node's "
                f"output is {'an image' if is_table else 'a table'}.",
                "Set the outputs of the node as the beginning of its script says.",
            )
        return spec

    def _published(self, cancelled: Callable[[], bool]) -> home.ModuleEntry:
        """Return the installed module, installed now where the user's settings say so."""
        try:
            return home.published(self.module)
        except NotInstalled:
            from ga3_nodes import installing  # a node that has all it needs shall not pay for it

            if not installing.install(self.module, self.title, cancelled):
                raise NotInstalled(
                    f"{self.title} is not installed.",
                    f"Open GA3 Environment Manager > {self.title} > Install.",
                ) from None
            return home.published(self.module)


class _Call:
    """One call of a node's function, whole or slice by slice.

    Parameters
    ----------
    binaries : dict of ndarray
        int32 (z, y, x, 1) of NIS that take labels, by their names.
    accept : callable
        Gets the result before these are written.
    """

    def __init__(
        self,
        node: ExternalModuleNode,
        parameters: Mapping[str, Any],
        timeout: float | None,
        cancelled: Callable[[], bool],
        binaries: _Frames,
        accept: Callable[[Result], object],
    ) -> None:
        self._node = node
        self._parameters = parameters
        self._timeout = timeout
        self._cancelled = cancelled
        self._binaries = binaries
        self._accept = accept

    def run(self, arrays: _Frames, axes: dict[str, str]) -> Result:
        plain = axes[next(iter(arrays))].replace("c", "")  # of the labels
        return client.call(
            self._node.module,
            self._node.function,
            _to_module(arrays, axes),
            self._parameters,
            axes=axes,
            timeout=self._timeout,
            cancelled=self._cancelled,
            copy=False,
            out={name: frames.to_module(one, plain) for name, one in self._binaries.items()},
            accept=self._accept,
        )

    def run_slices(self, arrays: _Frames, spec: dict[str, Any]) -> Result:
        """Call the function for each slice; its declaration has to say that this makes sense."""
        axes = {}
        for name, frame in arrays.items():
            found = frames.axes_for(spec["inputs"][name]["axes"], 1, frame.shape[3])
            if found is None:
                raise _too_many_components(self._node.title, name, frame)
            if len(frame) > 1 and not spec.get("slice_by_slice"):
                raise _no_volume(self._node.title, name, frame)
            axes[name] = found
        depths = {len(frame) for frame in arrays.values()}
        if len(depths) > 1:
            raise BadInput(f"The inputs of {self._node.title} differ in their number of slices.")
        results = self._of_slices(arrays, axes, depths.pop())
        stacked, ready = Result(), []
        for name, output in spec["outputs"].items():
            parts = [one[name] for one in results]
            if name in self._binaries:
                stacked[name] = frames.to_module(self._binaries[name], "zyx")
                ready.append(frames.ready_volume(stacked[name], parts))
            else:
                stacked[name] = frames.stack(parts, output["kind"])
        self._accept(stacked)
        for write in ready:
            write()
        stacked.seconds = sum(r.seconds for r in results)
        stacked.device, stacked.worker_pid = results[-1].device, results[-1].worker_pid
        stacked.notes = list(dict.fromkeys(note for r in results for note in r.notes))
        return stacked

    def _of_slices(self, arrays: _Frames, axes: dict[str, str], depth: int) -> list[Result]:
        """Return the results of all slices; the next one is handed over while one computes."""
        results = []
        calls = client.call_many(
            self._node.module,
            self._node.function,
            (
                _to_module({n: frame[z : z + 1] for n, frame in arrays.items()}, axes)
                for z in range(depth)
            ),
            self._parameters,
            axes=axes,
            timeout=self._timeout,
            cancelled=self._cancelled,
        )
        with contextlib.closing(calls):
            for outcome in calls:
                if isinstance(outcome, GA3EnvError):
                    raise outcome
                results.append(outcome)
        return results


def _fill(out: Any, name: str, columns: tuple[list[str], list[list[Any]]]) -> None:
    """Fill a table of NIS, which raises errors of its own."""
    try:
        out.withColData(*columns)
    except Exception as error:
        raise BadInput(
            f"NIS does not take the table {name!r} ({type(error).__name__}: {error}).",
            f"Define these columns in the node's output(): {', '.join(columns[0])}.",
        ) from error


def _to_module(arrays: _Frames, axes: dict[str, str]) -> _Frames:
    return {name: frames.to_module(frame, axes[name]) for name, frame in arrays.items()}


def _abort_of(ctx: Any) -> Callable[[], bool]:
    return lambda: ctx is not None and bool(ctx.shouldAbort)


def _by_name(data: Any, declared: Mapping[str, Any], title: str) -> _Frames:
    """Return the inputs by their declared names; each must be an array as NIS has it."""
    names = list(declared)
    if isinstance(data, Mapping):
        given = dict(data)
    else:
        several = list(data) if isinstance(data, (list, tuple)) else [data]
        given = dict(zip(names, several, strict=False)) if len(several) == len(names) else {}
    if sorted(given) != sorted(names):
        raise BadInput(
            f"{title} takes {len(names)} input(s): {', '.join(names)}.",
            "Set the inputs of the node as the beginning of its script says.",
        )
    arrays = {name: np.asarray(given[name]) for name in names}
    for name, array in arrays.items():
        if array.ndim != 4 or not array.size:
            what = f"has the shape {array.shape}" if array.shape else f"is {type(given[name])}"
            raise BadInput(
                f"The input {name!r} {what}, not (z, y, x, component).",
                "Pass the data of NIS's inputs as they are: inp[0].data.",
            )
        if declared[name].get("kind") == "labels" and array.dtype != np.int32:
            raise _no_ids(title, name)
    return arrays


def _no_ids(title: str, name: str) -> BadInput:
    return BadInput(
        f"{title} needs the numbers of the objects, which the input {name!r} does not hold.",
        "Use a binary of type int32: the module that finds the objects gives one.",
        code="no_ids",
    )


def _no_volume(title: str, name: str, frame: np.ndarray) -> BadInput:
    return BadInput(
        f"{title} takes single 2-D frames, and the input {name!r} is a volume of {len(frame)} "
        "slices.",
        "Use the 2-D Python node, or reduce the volume to one frame first.",
        code="no_volumes",
    )


def _too_many_components(title: str, name: str, frame: np.ndarray) -> BadInput:
    return BadInput(
        f"{title} takes one component per pixel, and the input {name!r} has {frame.shape[3]}.",
        "Use one channel, or convert RGB to one component first.",
        code="too_many_components",
    )


def _a_kind(kind: str) -> str:
    return {"labels": "a binary", "image": "a channel"}.get(kind, "a table")
