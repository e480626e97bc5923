"""Sets this project up where that is still to do, then starts it. `run` and `run.cmd` come here.

Needs nothing but a Python 3.11 or newer. Two things are set up: the pinned uv in `external/UV/`
and the app's own environment `.venv`. When both are in place, a start reads one small file and
compares sizes and times; so modules that only a set-up needs are imported where they are used.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # `run` starts this with -I

from external.places import LOCKS, ROOT, STARTER, VENV, WINDOWLESS, base_python
from external.stamps import is_ready
from external.starting import command_for, launch, launch_windowless, start_starter
from external.telling import SetupError, say


def heed_signals() -> None:
    """Let a closed terminal or a shutdown end the set-up, and what it runs, as Ctrl-C does."""
    import signal

    for name in {"SIGTERM", "SIGHUP", "SIGBREAK"} & set(dir(signal)):
        if signal.getsignal(number := getattr(signal, name)) == signal.SIG_DFL:  # not with nohup
            signal.signal(number, signal.default_int_handler)


def start(args: list[str]) -> int:
    """Set up what is missing, then start."""
    level = "test" if args[:1] == ["test"] else "app"
    if level == "test" and not LOCKS["test"][0].is_file():
        hint = "Run them in a clone of the repository."
        raise SetupError("no_tests", "This copy of the project holds no tests.", hint)
    if args[:1] == ["build-windows"] and not (ROOT / "release").is_dir():
        hint = "Build releases in a clone of the repository."
        raise SetupError("no_release_tools", "This copy of the project builds no releases.", hint)
    if not is_ready(level):
        if WINDOWLESS and STARTER.is_file() and "_GA3ENV_SET_UP" not in os.environ:
            return start_starter(args[1:])
        if VENV in Path(sys.executable).parents:  # .venv is activated, and cannot rebuild itself
            return launch([base_python(), "-IS", __file__, *args])
        from external.setting_up import set_up

        heed_signals()
        set_up(level)
    if args == ["set-up"]:
        return 0
    command, folder = command_for(args)
    return launch_windowless(command) if WINDOWLESS else launch(command, folder)


def report(error: SetupError, as_json: bool) -> int:
    """Tell the user, and with --json the caller."""
    say(f"error: {error.message}\nhint: {error.hint}")
    if WINDOWLESS:
        from external import windowless

        windowless.show([error.message, error.hint])
    if as_json:
        import json

        print(json.dumps({"ok": False, "error": vars(error)}), flush=True)
    return 130 if error.code == "cancelled" else 1


def main(args: list[str]) -> int:
    """Start, or say in one sentence why not."""
    try:
        return start(args)
    except SetupError as error:
        failure = error
    except KeyboardInterrupt:
        failure = SetupError("cancelled", "Set-up interrupted.", "Start again: it goes on.")
    except OSError as error:
        import errno

        where = f": {error.filename}" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "Free some space" if full else "Check this file or folder"
        message = f"Set-up failed: {error.strerror or error}{where}"
        code = "disk_full" if full else "setup_failed"
        failure = SetupError(code, message, f"{hint}, then start again.")
    return report(failure, "--json" in args)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
