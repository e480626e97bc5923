"""A worker's code in development: imported again after each edit."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import traceback
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ga3_nodes import devmode, functions
from ga3_nodes.errors import GA3EnvError, ModuleFailed


class EditedWorker:
    """A ``worker.py`` that is imported again after each edit.

    Parameters
    ----------
    folder : Path
        The user's folder of the module.
    declaration : dict
        The installed one: what the callers know.
    """

    def __init__(self, folder: Path, declaration: dict[str, Any]) -> None:
        self._path = folder / "worker.py"
        self._declaration = declaration
        self._stamp: tuple[int, int] | None = None
        self._worker: ModuleType | None = None
        self._error: GA3EnvError | None = None

    def current(self) -> ModuleType:
        """Return the code as it is now.

        Raises
        ------
        ModuleFailed
            It cannot be imported as it stands; the next edit may mend it.
        """
        try:
            state = self._path.stat()
        except OSError as error:
            raise ModuleFailed(
                f"{self._path} cannot be read: {error}.",
                f"Restore it, or call without {devmode.SWITCH}.",
                code="import_failed",
            ) from error
        stamp = (state.st_mtime_ns, state.st_size)
        if stamp != self._stamp:
            self._stamp, self._worker, self._error = stamp, None, None
            try:
                self._worker = self._imported()
            except GA3EnvError as error:
                self._error = error
        if self._worker is None:
            assert self._error is not None
            raise self._error
        return self._worker

    def _imported(self) -> ModuleType:
        loader = _SourceOnly("worker", str(self._path))
        spec = importlib.util.spec_from_loader("worker", loader)
        assert spec is not None
        worker = sys.modules["worker"] = importlib.util.module_from_spec(spec)
        try:
            loader.exec_module(worker)
        except BaseException as error:
            raise ModuleFailed(
                f"{self._path} cannot be imported: {type(error).__name__}: {error}.",
                "Correct it: the next call imports it again.",
                code="import_failed",
                details={"traceback": traceback.format_exc()},
            ) from error
        functions.check_declared(worker, self._declaration)
        return worker


class _SourceOnly(importlib.machinery.SourceFileLoader):
    """Takes no bytecode from the disk: that of an edit in the same second may be stale."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file as it is now."""
        return self.source_to_code(self.get_data(self.path), self.path)
