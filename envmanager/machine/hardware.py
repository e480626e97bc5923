"""What NVIDIA GPUs and driver this machine has: NVML first, else the program nvidia-smi.

Nothing here fails because something is missing or broken: the answer says so in a sentence.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from envmanager.errors import Cancelled
from envmanager.events import CancelToken, Deadline
from envmanager.processes import process

System = Literal["windows", "linux"]

_NO_DRIVER = "There is no NVIDIA driver on this computer."
_NO_GPU = "There is an NVIDIA driver, but it sees no GPU."
# The first question after a start of the computer can take some seconds without being stuck.
_SMI_TIMEOUT_S = 8.0
_SMI_QUERY = "--query-gpu=index,name,memory.total,memory.free,compute_cap,driver_version"
_NO_DEVICES = "No devices were found"
# "CUDA Version: 12.8", and since driver 610 "CUDA UMD Version: 13.3".
_SMI_CUDA = re.compile(r"CUDA (?:\w+ )?Version\s*:\s*(\d+)\.(\d+)")
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    `index` counts as NVML does, by place on the bus; `capability` is (major, minor); memory is
    in bytes, 0 where unknown.
    """

    index: int
    name: str
    capability: tuple[int, int]
    memory_total: int
    memory_free: int

    @property
    def short_name(self) -> str:
        """The name as people say it: ``RTX 5090``."""
        return self.name.removeprefix("NVIDIA ").removeprefix("GeForce ")

    @property
    def capability_text(self) -> str:
        """The compute capability as NVIDIA writes it: ``12.0``."""
        return f"{self.capability[0]}.{self.capability[1]}"


@dataclass(frozen=True)
class Hardware:
    """The GPUs of this machine and their driver.

    Parameters
    ----------
    system : {"windows", "linux"}
        Drivers are numbered differently on the two.
    found_by : {"nvml", "nvidia-smi", "none"}
        Who answered.
    gpus : tuple of Gpu
        By index; empty where there is none that can be used.
    driver : str
        Version of the driver, such as ``566.36``; empty where unknown.
    cuda : (int, int) or None
        Highest CUDA version that the driver supports; None where unknown.
    reason : str
        One sentence about what is missing; empty where all is well.
    broken : bool
        A driver is there, but it or a GPU does not answer as it should: worth a warning.
    """

    system: System
    found_by: Literal["nvml", "nvidia-smi", "none"]
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: tuple[int, int] | None = None
    reason: str = ""
    broken: bool = False


class _NoAnswer(Exception):
    """One of the two ways gave no answer; the text is a sentence for the user."""

    def __init__(self, reason: str, *, broken: bool) -> None:
        super().__init__(reason)
        self.broken = broken


class _Deadline(Deadline):
    """A deadline that tells the end of the time from the user's wish to stop."""

    def __init__(self, seconds: float, other: CancelToken | None) -> None:
        super().__init__(seconds, other or CancelToken())

    def check_other(self) -> None:
        """Go on where only the time is over."""
        if self._other:
            self._other.check()


def load_nvml() -> Any:
    """Import NVML's bindings (of the package nvidia-ml-py); this loads no driver yet."""
    return importlib.import_module("pynvml")


def find_nvidia_smi() -> Path | None:
    """Return the program nvidia-smi, or None; it is often not on the search path of Windows."""
    name = "nvidia-smi.exe" if _system() == "windows" else "nvidia-smi"
    for folder in _smi_folders():
        if (folder / name).is_file() and os.access(folder / name, os.X_OK):
            return folder / name
    return None


def gpus(
    *,
    nvml: Callable[[], Any] = load_nvml,
    smi: Callable[[], Path | None] = find_nvidia_smi,
    cancel: CancelToken | None = None,
) -> Hardware:
    """Ask for the GPUs; takes some tens of milliseconds, nothing is kept.

    Parameters
    ----------
    nvml, smi : callable, optional
        Give NVML's bindings and the place of nvidia-smi: tests play back recorded answers.
    cancel : CancelToken, optional
        Ends a nvidia-smi that hangs before its time is over.

    Raises
    ------
    Cancelled
        `cancel` was set.
    """
    ways: list[Callable[[], Hardware]]
    ways = [lambda: _from_nvml(nvml), lambda: _from_smi(smi(), cancel)]
    failures = []
    for way in ways:
        try:
            return way()
        except _NoAnswer as failure:
            failures.append(failure)
    # What is broken tells the user more than what is just not there.
    told = next((failure for failure in failures if failure.broken), failures[0])
    return Hardware(_system(), "none", reason=str(told), broken=told.broken)


def _from_nvml(load: Callable[[], Any]) -> Hardware:
    try:
        nvml = load()
    except ImportError:
        raise _NoAnswer(_NO_DRIVER, broken=False) from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        missing = error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND
        raise _NoAnswer(
            _NO_DRIVER if missing else _broken_driver(nvml, error), broken=not missing
        ) from None
    try:
        return _ask_nvml(nvml)
    except Exception as error:  # a driver in disorder: nvidia-smi may know more
        raise _NoAnswer(_broken_driver(nvml, error), broken=True) from error
    finally:
        _or_none(nvml, nvml.nvmlShutdown)


def _ask_nvml(nvml: Any) -> Hardware:
    found, silent = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found.append(_nvml_gpu(nvml, index))
        except nvml.NVMLError as error:  # one lost GPU must not hide the others
            silent.append(f"GPU {index} does not answer (NVML: {error}).")
    cuda = _or_none(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    return Hardware(
        system=_system(),
        found_by="nvml",
        gpus=tuple(found),
        driver=_text(_or_none(nvml, nvml.nvmlSystemGetDriverVersion) or ""),
        cuda=(cuda // 1000, cuda % 1000 // 10) if cuda else None,
        reason=" ".join(silent) or ("" if found else _NO_GPU),
        broken=bool(silent),
    )


def _nvml_gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    # Refused for a GPU that is shared out (MIG) without rights; the GPU is usable all the same.
    memory = _or_none(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    return Gpu(
        index=index,
        name=_text(nvml.nvmlDeviceGetName(handle)),
        capability=(major, minor),
        memory_total=memory.total if memory else 0,
        memory_free=memory.free if memory else 0,
    )


def _or_none(nvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return NVML's answer, or None where it has none: for what we can do without."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    """Older bindings answer in bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _broken_driver(nvml: Any, error: Exception) -> str:
    if getattr(error, "value", None) == nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return f"The NVIDIA driver was updated and waits for a restart (NVML: {_line(error)})."
    return f"The NVIDIA driver does not answer (NVML: {_line(error)})."


def _line(error: object) -> str:
    """Shorten a message to its first line, without the full stop."""
    return str(error).strip().partition("\n")[0].strip().rstrip(".") or "no message"


def _from_smi(program: Path | None, cancel: CancelToken | None) -> Hardware:
    if program is None:
        raise _NoAnswer(_NO_DRIVER, broken=False)
    deadline = _Deadline(_SMI_TIMEOUT_S, cancel)
    text = _run_smi(program, deadline, _SMI_QUERY, "--format=csv,noheader,nounits")
    if _NO_DEVICES in text:
        return Hardware(_system(), "nvidia-smi", reason=_NO_GPU)
    rows = [_smi_row(line) for line in text.splitlines() if line.strip()]
    found = [(gpu, driver) for gpu, driver in rows if gpu]
    silent = len(rows) - len(found)
    return Hardware(
        system=_system(),
        found_by="nvidia-smi",
        gpus=tuple(gpu for gpu, _ in found),
        driver=found[0][1] if found else "",
        cuda=_smi_cuda(program, deadline) if found else None,
        reason=f"nvidia-smi tells too little about {silent} of {len(rows)} GPUs." if silent else "",
        broken=bool(silent),
    )


def _run_smi(program: Path, deadline: _Deadline, *arguments: str) -> str:
    try:
        done = process.run([program, *arguments], cwd=program.parent, cancel=deadline)
    except Cancelled:
        deadline.check_other()
        reason = f"The NVIDIA driver does not answer: nvidia-smi took over {_SMI_TIMEOUT_S:.0f} s."
        raise _NoAnswer(reason, broken=True) from None
    except OSError as error:
        reason = f"nvidia-smi cannot be started ({_line(error)})."
        raise _NoAnswer(reason, broken=True) from error
    text = done.stdout + done.stderr
    if done.exit_code and _NO_DEVICES not in text:
        reason = f"nvidia-smi ended with exit code {done.exit_code} ({_line(text)})."
        raise _NoAnswer(reason, broken=True)
    return text


def _smi_row(line: str) -> tuple[Gpu | None, str]:
    """Read one GPU and the driver's version; no GPU where a needed value is not given."""
    index, _, rest = line.partition(", ")
    fields = rest.rsplit(", ", 4)  # from the right: a name may hold a comma
    if len(fields) < 5:
        return None, ""
    name, total, free, capability, driver = fields
    match = re.fullmatch(r"(\d+)\.(\d+)", capability)
    if not match or not index.isdecimal():
        return None, driver
    found = (int(match[1]), int(match[2]))
    return Gpu(int(index), name, found, _bytes(total), _bytes(free)), driver


def _bytes(mebibytes: str) -> int:
    return int(mebibytes) * _MIB if mebibytes.isdecimal() else 0  # "[N/A]" on some GPUs


def _smi_cuda(program: Path, deadline: _Deadline) -> tuple[int, int] | None:
    """Read the head of nvidia-smi's table: no query gives the CUDA version."""
    try:
        match = _SMI_CUDA.search(_run_smi(program, deadline))
    except _NoAnswer:
        return None
    return (int(match[1]), int(match[2])) if match else None


def _smi_folders() -> Iterable[Path]:
    """Windows: not the search path first, where the current folder may come in."""
    on_path = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    if _system() == "linux":
        return [*on_path, Path("/usr/bin"), Path("/usr/lib/wsl/lib")]
    windows = Path(os.environ.get("SYSTEMROOT", "C:\\Windows"))
    programs = Path(os.environ.get("PROGRAMFILES", "C:\\Program Files"))
    return [windows / "System32", programs / "NVIDIA Corporation" / "NVSMI", *on_path]


def _system() -> System:
    return "windows" if sys.platform == "win32" else "linux"
