"""Installs a module at the first call of a node, where the user's settings say so (`auto_install`).

The node asks the app to do it: ``config.json`` names the command. Whoever waits in NIS sees where
the log is, and may abort. Where NIS ends the node's process instead (out of process), the
installation goes on by itself, and the next call waits for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from ga3_nodes import home, records, spawn
from ga3_nodes.errors import Cancelled, ConfigError, GA3EnvError, NotInstalled, from_dict

_POLL_S = 0.1
# What an installation needs of the node's environment, beside what every process of ours gets.
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


def install(module: str, title: str, cancelled: Callable[[], bool]) -> bool:
    """Install a module; return False where the settings do not allow it.

    Raises
    ------
    Cancelled
        The user aborted; the installation is ended, with all that it started.
    GA3EnvError
        It failed, for the reason that the app gives.
    """
    root, command = _manager()
    if not command or not records.valid_name(module):
        return False
    log = home.log_dir(root) / f"install-{module}.log"
    spawn.rotate(log)
    before = spawn.log_size(log)
    print(f"{title} is being installed. Its log is {log}")
    with log.open("ab") as output:
        arguments = [*command, "install", module, "--json"]
        process = spawn.popen(arguments, _environment(), root, output.fileno())
    while process.poll() is None:
        if cancelled():
            spawn.end_tree(process)
            raise Cancelled(f"The installation of {title} was aborted.", "Run again to install it.")
        time.sleep(_POLL_S)
    if process.returncode:
        raise _failure(title, log, spawn.log_tail(log, before))
    return True


def _manager() -> tuple[Path, list[str]]:
    """Return the data folder, and the command of the app; none where it may not install."""
    place = home.places()[0]
    with contextlib.suppress(ConfigError):
        root = home.located(place)
        config = home.read_config(root)
        command = config.get("manager")
        if config.get("auto_install") is True and isinstance(command, list):
            return root, [str(word) for word in command]
    return place, []


def _environment() -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if k.upper() in _NETWORK or k.startswith("UV_")}
    return spawn.worker_environment(own)


def _failure(title: str, log: Path, text: str) -> GA3EnvError:
    """Return what the app said: its last line is JSON."""
    try:
        told = from_dict(json.loads(text.splitlines()[-1])["error"])
        code, reason, hint = told.code, told.message, told.hint
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        code, reason, hint = NotInstalled.code, "", "Look into its log."
    return NotInstalled(
        f"{title} could not be installed. {reason}".rstrip(),
        hint or f"Open GA3 Environment Manager > {title} > Install.",
        code=code,
        details={"log": str(log), "log_tail": text},
    )
