"""Whatever ends a piece of work, as an error of our family: for the command line and the app."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path

from envmanager import applog
from envmanager.data import fulldisk
from envmanager.data.paths import data_folder
from envmanager.errors import GA3EnvError


def as_error(error: Exception) -> GA3EnvError:
    """Return the error itself where it is ours; else wrap what the system refused, or a defect."""
    if isinstance(error, GA3EnvError):
        return error
    trace = "".join(traceback.format_exception(error))
    details = {"traceback": trace, "log": log()}
    if fulldisk.is_full(error):
        failure = fulldisk.failure(data_folder().root, Path(tempfile.gettempdir()))
        failure.details |= details
        return failure
    if isinstance(error, OSError):
        return GA3EnvError(
            f"The system refused: {error}.",
            "Check free space and permissions of the data folder.",
            code="system",
            details=details,
        )
    return GA3EnvError(
        f"Unexpected {type(error).__name__}: {error}.",
        "This is a defect of the app; please report it with the log.",
        code="internal",
        details=details,
    )


def log() -> str:
    """Return where the log is; empty where there can be none: that must not hide the error."""
    try:
        return str(applog.path(data_folder()))
    except (OSError, RuntimeError, GA3EnvError):  # RuntimeError: the user has no home
        return ""
