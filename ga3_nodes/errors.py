"""The one family of errors: a message, a hint (the next step to take) and a stable code.

Errors cross process boundaries as dictionaries, never as text to be parsed.
"""

from __future__ import annotations

from typing import Any


class GA3EnvError(Exception):
    """Base of all errors that the product raises on purpose.

    Parameters
    ----------
    message : str
        One sentence that says what is wrong.
    hint : str
        The next step to take; may be empty.
    code : str, optional
        A stable token for scripts; each class has its own default.
    details : dict, optional
        Evidence that is folded away at first: ``traceback``, ``log_tail``, ``exit_code``, ``log``.
    """

    code = "error"

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        code: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        self.details = details or {}
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        """Message and hint in one line: all that a user of NIS gets to see."""
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a plain error where NIS pickles it: its own process has no such class."""
        return RuntimeError, (str(self),)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as it travels between processes."""
        return {
            "code": self.code,
            "family": type(self).code,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }


class BadInput(GA3EnvError):
    """What the user gave (image, parameter, name) cannot be used."""

    code = "bad_input"


class NotInstalled(GA3EnvError):
    """The module has no published environment that is ready."""

    code = "not_installed"


class WeightsMissing(GA3EnvError):
    """The weights that a call needs are not downloaded."""

    code = "weights_missing"


class ConfigError(GA3EnvError):
    """``config.json`` cannot be read or is of a newer schema."""

    code = "config_invalid"


class WorkerStartFailed(GA3EnvError):
    """The worker process did not come up."""

    code = "worker_start_failed"


class WorkerCrashed(GA3EnvError):
    """The worker process ended in the middle of a call."""

    code = "worker_crashed"


class WorkerTimeout(GA3EnvError):
    """The call took longer than the caller allows."""

    code = "timeout"


class Cancelled(GA3EnvError):
    """The user cancelled."""

    code = "cancelled"


class ModuleFailed(GA3EnvError):
    """The module's own function raised; ``details['traceback']`` holds the remote traceback."""

    code = "module_failed"


class ProtocolError(GA3EnvError):
    """A message or a peer does not follow the protocol."""

    code = "protocol"


def from_dict(data: dict[str, Any]) -> GA3EnvError:
    """Rebuild an error that another process sent; an unknown family becomes a `ModuleFailed`."""
    classes = {cls.code: cls for cls in GA3EnvError.__subclasses__()}
    code = str(data.get("code", "module_failed"))
    details = data.get("details")
    return classes.get(str(data.get("family", code)), ModuleFailed)(
        str(data.get("message", "")),
        str(data.get("hint", "")),
        code=code,
        details=details if isinstance(details, dict) else None,
    )
