"""Starts and kills worker processes; the only place where the client touches the system's ways.

A worker inherits nothing of the process that starts it: not its streams (NIS would wait for them
when it ends the node's process), no handles, no console, no current folder, and of the environment
only an allow-list.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ga3_nodes import home
from ga3_nodes.errors import WorkerStartFailed

EXIT_TAKEN = 75  # another worker of this generation holds the lease
EXIT_RETIRED = 76  # this generation is not the published one
_LOG_LIMIT = 1 << 20  # bytes
_LONGEST_FOLDER = 258  # characters of a process's current folder on Windows: MAX_PATH - 2

# What a worker gets of the node's environment. NIS's PATH, PYTHON*, CUDA*, OMP* ... stay behind:
# NIS points PYTHONHOME at its own Python, which would kill a worker at its start.
_ENVIRONMENT = frozenset(
    """
    ALLUSERSPROFILE APPDATA COMMONPROGRAMFILES COMPUTERNAME COMSPEC HOMEDRIVE HOMEPATH LOCALAPPDATA
    LOGONSERVER NUMBER_OF_PROCESSORS OS PATHEXT PROCESSOR_ARCHITECTURE PROGRAMDATA PROGRAMFILES
    PUBLIC SESSIONNAME SYSTEMDRIVE SYSTEMROOT TEMP TMP USERDOMAIN USERNAME USERPROFILE WINDIR
    HOME USER LOGNAME LANG LC_ALL LC_CTYPE TMPDIR TZ XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME
    XDG_RUNTIME_DIR GA3ENV_HOME
    """.split()
)


def log_path(entry: home.ModuleEntry) -> Path:
    """Return the log file of a module's workers."""
    return home.log_dir(entry.root) / f"worker-{entry.name}.log"


def log_size(path: Path) -> int:
    """Return the size of a log file, in bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def log_tail(path: Path, start: int = 0, lines: int = 20) -> str:
    """Return the last lines of a log file behind byte `start`; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(start if start <= log_size(path) else 0)
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ""


def spawn(entry: home.ModuleEntry, *, dev: bool = False) -> subprocess.Popen[bytes]:
    """Start the worker process of a published environment; see `devmode` for `dev`.

    Raises
    ------
    WorkerStartFailed
        The interpreter or the host is missing, or the system does not let it start.
    """
    host = entry.folder / "ga3_nodes" / "host.py"
    if not entry.python.exists() or not host.exists():
        raise WorkerStartFailed(
            f"The environment of {entry.name} is damaged: a part of {entry.folder} is missing.",
            f"Repair {entry.name} in GA3 Environment Manager.",
        )
    if sys.platform == "win32" and len(str(entry.folder)) > _LONGEST_FOLDER:
        raise WorkerStartFailed(
            f"The path of {entry.folder} is too long: Windows starts no program in a folder of "
            f"more than {_LONGEST_FOLDER} characters.",
            "Move the data folder to a shorter path: Settings > Data folder.",
        )
    log = log_path(entry)
    rotate(log)
    arguments = [str(entry.python), "-s", "-X", "utf8", str(host), str(entry.folder)]
    arguments += ["--serve", str(entry.root), *(["--dev"] if dev else [])]
    environment = worker_environment(entry.env) | {"GA3ENV_WORKER_LOG": str(log)}
    with log.open("ab") as output:
        try:
            process = popen(arguments, environment, entry.folder, output.fileno())
        except OSError as error:
            raise WorkerStartFailed(
                f"The system does not start the worker of {entry.name}: {error}.",
                f"Does an antivirus or a policy keep {entry.python} from starting? If not, repair "
                f"{entry.name} in GA3 Environment Manager.",
                details={"python": str(entry.python)},
            ) from error
    # Reaps the process, so that it is no zombie, and keeps its exit code.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def popen(
    arguments: list[str], environment: dict[str, str], folder: Path, output: int
) -> subprocess.Popen[bytes]:
    """Start a program that inherits nothing; `output` is the file descriptor of its log."""
    common: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": output,
        "stderr": subprocess.STDOUT,
        "cwd": folder,
        "env": environment,
        "close_fds": True,
    }
    if sys.platform != "win32":
        return subprocess.Popen(arguments, start_new_session=True, **common)
    flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    try:  # the worker shall survive when NIS ends the job that the node's process is in
        breakaway = flags | subprocess.CREATE_BREAKAWAY_FROM_JOB
        return subprocess.Popen(arguments, creationflags=breakaway, **common)
    except PermissionError:
        return subprocess.Popen(arguments, creationflags=flags, **common)


def worker_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return a worker's environment: an allow-list, the system's PATH, and the module's own."""
    kept = {k: v for k, v in os.environ.items() if k.upper() in _ENVIRONMENT}
    if sys.platform == "win32":
        system = os.environ.get("SYSTEMROOT", "C:\\Windows")
        kept["PATH"] = f"{system}\\System32;{system}"
    else:
        kept["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


def command_line(arguments: Sequence[str]) -> str:
    """Return a command as one types it into the system's command line."""
    if sys.platform == "win32":
        return subprocess.list2cmdline(arguments)
    return shlex.join(arguments)


def rotate(log: Path) -> None:
    """Keep one older log; a file that another worker has open stays where it is."""
    try:
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".old.log"))
    except OSError:
        pass


def shorten(log: Path, descriptor: int) -> None:
    """Do as `rotate` with the log of this process itself, which has it open and lives for long."""
    try:
        state = os.fstat(descriptor)
        if state.st_size > _LOG_LIMIT and os.path.samestat(state, log.stat()):
            shutil.copyfile(log, log.with_suffix(".old.log"))
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)  # Windows does not go to the end by itself
    except OSError:
        pass


def end_tree(process: subprocess.Popen[bytes], grace_s: float = 5.0) -> None:
    """End a program that `popen` started, with all that it started; on POSIX it may tidy up."""
    if sys.platform == "win32":
        folder = Path(os.environ.get("SYSTEMROOT", "C:\\Windows")) / "System32"
        arguments = [str(folder / "taskkill.exe"), "/T", "/F", "/PID", str(process.pid)]
        popen(arguments, worker_environment({}), folder, subprocess.DEVNULL).wait()
    else:
        process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        kill(process.pid)
        process.wait()


def kill(pid: int) -> None:
    """Kill a worker and what it started.

    The caller knows the process by an open connection, so that the pid cannot be another's.
    """
    try:
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)  # TerminateProcess
        else:
            os.killpg(pid, signal.SIGKILL)  # `spawn` made it the leader of its session
    except (ProcessLookupError, PermissionError):
        pass
