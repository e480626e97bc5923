"""NIS's default mode: the script runs as text inside the process of NIS itself."""

from __future__ import annotations

import contextlib
import io
import multiprocessing.spawn
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ga3_nodes.standin import limnode
from ga3_nodes.standin import limnode_types as types
from ga3_nodes.standin.limnode_types import Array, Definition, TableData
from ga3_nodes.standin.nis import Aborted, Input, Nis, NodeFailed, ScriptRefused, shape_of

NIS_EXE = r"C:\Program Files\NIS-Elements\nis_ar.exe"


class EmbeddedNis(Nis):
    """Runs the script in this process; its module level runs at once.

    There is no `__file__`, `__name__` is not "__main__", `sys.executable` is NIS and not a Python.
    Not for two threads at once: it swaps `sys.stdout` and other things of the whole process.
    """

    def __init__(
        self, script: str, version: int = 6, *, outputs: Sequence[str] = ("binary",)
    ) -> None:
        super().__init__(script, version, outputs)
        self._log = io.StringIO()
        # Not in sys.modules and without __file__: all that a script may rely on is its own names.
        names: dict[str, Any] = {"__name__": "ga3_script"}
        with self._in_nis("module level"):
            exec(compile(script, "<string>", "exec", dont_inherit=True), names)
        try:
            functions = [names[name] for name in ("run", "output", "build")]
        except KeyError as missing:
            raise ScriptRefused(f"the script defines no function {missing}") from None
        self._node = limnode.Node(version, *functions)

    @property
    def log(self) -> str:
        """What the script printed so far."""
        return self._log.getvalue()

    def close(self) -> None:
        """Do nothing: the script lives on in NIS until the program ends."""

    def _output(
        self, inputs: Sequence[types.Wire], outputs: Sequence[types.Wire]
    ) -> list[types.Wire]:
        with self._in_nis("output"):
            return self._node.output(inputs, outputs)

    def _build(self, loops: Any) -> tuple[str, tuple[str, ...]] | None:
        with self._in_nis("build"):
            return self._node.build(loops)

    def _run(
        self,
        inputs: Sequence[Input],
        outputs: Sequence[Definition],
        abort: Callable[[], bool] | None,
        context: dict[str, Any],
    ) -> list[Array | TableData]:
        ctx = types.Context(abort, **context)
        inp = [
            TableData(i.definition.columns, i.columns)
            if isinstance(i.definition, types.TableDefinition)
            else types.ImageData(np.array(i.image))
            for i in inputs
        ]
        out = [
            TableData(d.columns)
            if isinstance(d, types.TableDefinition)
            else types.ImageData(np.zeros(shape_of(d), types.dtype_of(d)))
            for d in outputs
        ]
        failure: NodeFailed | None = None
        try:
            with self._in_nis("run"):
                self._node.run(inp, out, ctx)
        except NodeFailed as error:
            failure = error
        if ctx._aborted:  # whatever the script then did: raise, or return early
            raise Aborted("the run was aborted") from failure
        if failure is not None:
            raise failure
        return [data.data if isinstance(data, types.ImageData) else data for data in out]

    @contextlib.contextmanager
    def _in_nis(self, where: str) -> Iterator[None]:
        """Make this process look like NIS while the script has it, and put all back after."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(self._log))
            stack.enter_context(contextlib.redirect_stderr(self._log))
            stack.callback(setattr, sys, "executable", sys.executable)
            stack.callback(multiprocessing.spawn.set_executable, sys.executable)
            stack.callback(_put_back_limnode, sys.modules.get("limnode"))
            sys.executable = NIS_EXE
            multiprocessing.spawn.set_executable(NIS_EXE)
            sys.modules["limnode"] = limnode
            try:
                yield
            except (Exception, SystemExit) as error:
                raise NodeFailed(
                    where, type(error).__name__, str(error), traceback.format_exc()
                ) from error


def _put_back_limnode(before: ModuleType | None) -> None:
    if before is None:
        sys.modules.pop("limnode", None)
    else:
        sys.modules["limnode"] = before
