"""GPU detection: the real bindings over a played-back NVML, and a small nvidia-smi of our own."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from envmanager.errors import Cancelled
from envmanager.events import CancelToken
from envmanager.machine import hardware
from envmanager.machine.hardware import Gpu, Hardware

GIB = 1024**3
# Names, sizes and versions as NVML gives them; memory in bytes, the CUDA version as 1000 * major
# + 10 * minor.
RTX_5090 = ("NVIDIA GeForce RTX 5090", (12, 0), 34190917632, 32413581312)
RTX_4090 = ("NVIDIA GeForce RTX 4090", (8, 9), 25757220864, 24110956544)
GTX_1080 = ("GeForce GTX 1080", (6, 1), 8589934592, 8312061952)
RTX_2080 = ("NVIDIA GeForce RTX 2080", (7, 5), 8589934592, 7516192768)


class NvmlLibrary:
    """Stands in for libnvidia-ml: answers with recorded values through pointers, as C does.

    `fails` maps a C function to the error code that it returns; "function:1" is for GPU 1 only.
    """

    def __init__(self, gpus=(), driver="580.88", cuda=13000, **fails):
        self.gpus, self.driver, self.cuda, self.fails = gpus, driver, cuda, fails
        self.open = 0

    def __getattr__(self, name):
        if name.startswith("nvml"):  # a function that this driver does not have
            raise AttributeError(name)
        return self.__dict__[name]

    def _result(self, function, index=None):
        return self.fails.get(f"{function}:{index}", self.fails.get(function, 0))

    def nvmlInitWithFlags(self, flags):  # noqa: N802
        code = self._result("nvmlInitWithFlags")
        self.open += code == 0
        return code

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1
        return 0

    class nvmlErrorString:  # noqa: N801
        """The bindings set its result's type; for codes that they do not know."""

        def __new__(cls, code):
            return b"Unknown Error"

    def nvmlSystemGetDriverVersion(self, buffer, length):  # noqa: N802
        buffer.value = self.driver.encode()
        return self._result("nvmlSystemGetDriverVersion")

    def nvmlSystemGetCudaDriverVersion_v2(self, version):  # noqa: N802
        version._obj.value = self.cuda
        return self._result("nvmlSystemGetCudaDriverVersion_v2")

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802
        count._obj.value = len(self.gpus)
        return self._result("nvmlDeviceGetCount_v2")

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):  # noqa: N802
        ctypes.c_void_p.from_buffer(handle._obj).value = index.value + 1
        return self._result("nvmlDeviceGetHandleByIndex_v2", index.value)

    def nvmlDeviceGetName(self, handle, buffer, length):  # noqa: N802
        buffer.value = self._gpu(handle)[0].encode()
        return 0

    def nvmlDeviceGetCudaComputeCapability(self, handle, major, minor):  # noqa: N802
        major._obj.value, minor._obj.value = self._gpu(handle)[1]
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle, memory):  # noqa: N802
        _, _, total, free = self._gpu(handle)
        memory._obj.total, memory._obj.free, memory._obj.used = total, free, total - free
        return self._result("nvmlDeviceGetMemoryInfo", self.gpus.index(self._gpu(handle)))

    def _gpu(self, handle):
        return self.gpus[ctypes.cast(handle, ctypes.c_void_p).value - 1]


@pytest.fixture
def play(monkeypatch):
    """Ask with a recorded NVML (None: no library), and without any nvidia-smi."""

    def ask(library, smi=lambda: None, **more) -> Hardware:
        missing = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND if library is None else pynvml.NVML_SUCCESS
        monkeypatch.setattr(pynvml, "_LoadNvmlLibrary", lambda: pynvml._nvmlCheckReturn(missing))
        monkeypatch.setattr(pynvml, "nvmlLib", library)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        found = hardware.gpus(smi=smi, **more)
        assert library is None or library.open == 0, "NVML was not shut down"
        return found

    return ask


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Write a shell script as the nvidia-smi on the search path."""
    if sys.platform == "win32":
        pytest.skip("a script is no nvidia-smi.exe")
    folder = tmp_path / "bin é"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(text: str) -> Path:
        path = folder / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
        path.chmod(0o755)
        return path

    return write


def answer(*rows: str, head: str = "") -> str:
    """Return a script that answers the query with `rows`, and any other call with `head`."""
    lines = "\n".join(rows)
    query = "--query-gpu=index,name,memory.total,memory.free,compute_cap,driver_version"
    return (
        f'if [ "$1" = "{query}" ] && [ "$2" = "--format=csv,noheader,nounits" ]; then\n'
        f"/bin/cat <<'END'\n{lines}\nEND\nelse\n/bin/cat <<'END'\n{head}\nEND\nfi"
    )


ROW_5090 = "0, NVIDIA GeForce RTX 5090, 32607, 30911, 12.0, 610.47"
HEAD_610 = "| NVIDIA-SMI 610.47    KMD Version: 610.47    CUDA UMD Version: 13.3     |"
HEAD_552 = "| NVIDIA-SMI 552.22    Driver Version: 552.22    CUDA Version: 12.4     |"


def no_module():
    raise ModuleNotFoundError("No module named 'pynvml'")


# NVML


def test_a_gpu_is_told_with_its_driver(play):
    found = play(NvmlLibrary([RTX_5090], driver="581.29", cuda=13000))
    assert found.gpus == (Gpu(0, "NVIDIA GeForce RTX 5090", (12, 0), 34190917632, 32413581312),)
    assert (found.driver, found.cuda, found.found_by) == ("581.29", (13, 0), "nvml")
    assert (found.reason, found.broken) == ("", False)
    assert found.system == ("windows" if sys.platform == "win32" else "linux")


@pytest.mark.parametrize(("raw", "cuda"), [(12020, (12, 2)), (13000, (13, 0)), (11080, (11, 8))])
def test_the_highest_cuda_version_is_read(play, raw, cuda):
    assert play(NvmlLibrary([RTX_2080], cuda=raw)).cuda == cuda


def test_several_gpus_keep_their_index(play):
    found = play(NvmlLibrary([GTX_1080, RTX_4090]))
    assert [(g.index, g.short_name, g.capability_text) for g in found.gpus] == [
        (0, "GTX 1080", "6.1"),
        (1, "RTX 4090", "8.9"),
    ]


def test_a_computer_without_nvidia_is_no_error(play):
    found = play(None)
    assert (found.found_by, found.gpus, found.broken) == ("none", (), False)
    assert found.reason == "There is no NVIDIA driver on this computer."


def test_the_real_library_is_missing_or_answers_here():
    """Nothing is played back: whatever this machine is, the question has an answer."""
    found = hardware.gpus()
    assert bool(found.gpus) or found.reason


def test_a_driver_without_a_gpu_says_so(play):
    found = play(NvmlLibrary([], driver="580.88"))
    assert (found.found_by, found.driver, found.gpus) == ("nvml", "580.88", ())
    assert found.reason == "There is an NVIDIA driver, but it sees no GPU."
    assert not found.broken


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "waits for a restart"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "Insufficient Permissions"),
        (987, "Unknown Error"),
    ],
)
@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2"])
def test_a_driver_that_fails_is_told_in_nvmls_words(play, function, code, said):
    found = play(NvmlLibrary([RTX_5090], **{function: code}))
    assert (found.found_by, found.gpus, found.broken) == ("none", (), True)
    assert said in found.reason
    assert found.reason.endswith(".")


def test_a_lost_gpu_does_not_hide_the_other(play):
    lost = {"nvmlDeviceGetHandleByIndex_v2:0": pynvml.NVML_ERROR_GPU_IS_LOST}
    found = play(NvmlLibrary([GTX_1080, RTX_4090], **lost))
    assert [gpu.index for gpu in found.gpus] == [1]
    assert found.reason == "GPU 0 does not answer (NVML: GPU is lost)."
    assert found.broken


def test_what_we_can_do_without_may_be_refused(play):
    refused = pynvml.NVML_ERROR_NO_PERMISSION
    library = NvmlLibrary(
        [RTX_5090],
        nvmlDeviceGetMemoryInfo=refused,
        nvmlSystemGetCudaDriverVersion_v2=refused,
        nvmlSystemGetDriverVersion=refused,
    )
    found = play(library)
    assert (found.gpus[0].memory_total, found.gpus[0].memory_free) == (0, 0)
    assert (found.cuda, found.driver) == (None, "")
    assert not found.broken


def test_a_driver_too_old_for_these_bindings_is_no_crash(play, monkeypatch):
    monkeypatch.delattr(NvmlLibrary, "nvmlDeviceGetCount_v2")
    found = play(NvmlLibrary([GTX_1080]))
    assert found.broken
    assert "Function Not Found" in found.reason


def test_old_bindings_that_answer_in_bytes_are_understood():
    old = SimpleNamespace(
        NVMLError=pynvml.NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlSystemGetDriverVersion=lambda: b"470.57.02",
        nvmlSystemGetCudaDriverVersion_v2=lambda: 11040,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: b"GeForce GTX 1080",
        nvmlDeviceGetCudaComputeCapability=lambda handle: (6, 1),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=8 * GIB, free=7 * GIB, used=0),
    )
    found = hardware.gpus(nvml=lambda: old, smi=lambda: None)
    assert found.gpus == (Gpu(0, "GeForce GTX 1080", (6, 1), 8 * GIB, 7 * GIB),)
    assert (found.driver, found.cuda) == ("470.57.02", (11, 4))


def test_the_bindings_are_imported_only_when_asked():
    import subprocess

    code = (
        "import sys, envmanager.machine.hardware, envmanager.packages.backends\n"
        "print('pynvml' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


# nvidia-smi


def test_nvidia_smi_answers_where_nvml_cannot(program):
    program(answer(ROW_5090, "1, Quadro, odd, 8192, [N/A], 7.5, 610.47", head=HEAD_610))
    found = hardware.gpus(nvml=no_module)
    assert found.gpus == (
        Gpu(0, "NVIDIA GeForce RTX 5090", (12, 0), 32607 * 1024**2, 30911 * 1024**2),
        Gpu(1, "Quadro, odd", (7, 5), 8 * GIB, 0),
    )
    assert (found.found_by, found.driver, found.cuda) == ("nvidia-smi", "610.47", (13, 3))
    assert (found.reason, found.broken) == ("", False)


def test_the_older_head_of_nvidia_smi_is_read_too(program, play):
    path = program(answer("0, Tesla T4, 15360, 15101, 7.5, 552.22", head=HEAD_552))
    failing = NvmlLibrary(nvmlInitWithFlags=pynvml.NVML_ERROR_UNKNOWN)
    found = play(failing, smi=lambda: path)
    assert (found.cuda, found.driver, found.found_by) == ((12, 4), "552.22", "nvidia-smi")


def test_a_table_head_without_cuda_is_no_failure(program):
    program(answer(ROW_5090, head="something else"))
    found = hardware.gpus(nvml=no_module)
    assert (len(found.gpus), found.cuda) == (1, None)


def test_a_gpu_without_a_capability_is_left_out_loudly(program):
    program(answer(ROW_5090, "1, Odd, 8192, 8000, [N/A], 610.47", "nonsense", head=HEAD_610))
    found = hardware.gpus(nvml=no_module)
    assert [gpu.index for gpu in found.gpus] == [0]
    assert found.reason == "nvidia-smi tells too little about 2 of 3 GPUs."
    assert found.broken


def test_nvidia_smi_without_devices_says_so(program):
    program("echo 'No devices were found'; exit 6")
    found = hardware.gpus(nvml=no_module)
    assert (found.found_by, found.gpus) == ("nvidia-smi", ())
    assert found.reason == "There is an NVIDIA driver, but it sees no GPU."


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'NVIDIA-SMI has failed. Is the driver running?'; exit 9", "NVIDIA-SMI has failed"),
        ("echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2", "compute_cap"),
        ("exit 255", "exit code 255"),
    ],
)
def test_a_failing_nvidia_smi_is_quoted(program, script, said):
    program(script)
    found = hardware.gpus(nvml=no_module)
    assert (found.found_by, found.gpus, found.broken) == ("none", (), True)
    assert said in found.reason


def test_a_program_that_cannot_start_is_no_crash(program):
    path = program("")
    path.write_bytes(b"\x00\x01 no program")
    found = hardware.gpus(nvml=no_module)
    assert found.broken
    assert "cannot be started" in found.reason


def test_a_hanging_nvidia_smi_is_ended(program, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_SMI_TIMEOUT_S", 2.0)
    pid = tmp_path / "pid"
    program(f"echo $$ >'{pid}'; exec /bin/sleep 60")
    start = time.monotonic()
    found = hardware.gpus(nvml=no_module)
    assert time.monotonic() - start < 50
    assert found.broken
    assert "does not answer" in found.reason
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_hang_after_the_answer_keeps_the_answer(program, monkeypatch):
    monkeypatch.setattr(hardware, "_SMI_TIMEOUT_S", 3.0)
    program(f'if [ -n "$1" ]; then echo "{ROW_5090}"; else exec /bin/sleep 60; fi')
    found = hardware.gpus(nvml=no_module)
    assert (len(found.gpus), found.cuda) == (1, None)


def test_the_users_cancel_ends_it_at_once(program):
    program("exec /bin/sleep 60")
    token = CancelToken()
    token.cancel()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        hardware.gpus(nvml=no_module, cancel=token)
    assert time.monotonic() - start < 50


def test_what_is_broken_is_told_before_what_is_missing(program, play):
    path = program("exit 9")
    assert "exit code 9" in play(None, smi=lambda: path).reason
    mismatch = NvmlLibrary(nvmlInitWithFlags=pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    assert "restart" in play(mismatch, smi=lambda: path).reason


def test_a_file_that_is_no_program_is_passed_over(program, monkeypatch):
    program("").chmod(0o644)
    monkeypatch.setattr(hardware, "_system", lambda: "linux")
    assert hardware.find_nvidia_smi() != Path(os.environ["PATH"]) / "nvidia-smi"


@pytest.mark.parametrize("place", ["Windows/System32", "Programs/NVIDIA Corporation/NVSMI", "path"])
def test_windows_keeps_it_in_several_places(tmp_path, monkeypatch, place):
    monkeypatch.setattr(hardware, "_system", lambda: "windows")
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path / "Windows"))
    monkeypatch.setenv("PROGRAMFILES", str(tmp_path / "Programs"))
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "empty"), str(tmp_path / "path")]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nvidia-smi.exe").write_bytes(b"")  # the current folder is not searched
    (tmp_path / "nvidia-smi.exe").chmod(0o755)
    assert hardware.find_nvidia_smi() is None
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "nvidia-smi.exe").write_bytes(b"")
    (folder / "nvidia-smi.exe").chmod(0o755)
    assert hardware.find_nvidia_smi() == folder / "nvidia-smi.exe"


@pytest.mark.gpu
def test_both_ways_agree_about_the_real_card():
    by_nvml = hardware.gpus(smi=lambda: None)
    if not by_nvml.gpus:
        pytest.skip(by_nvml.reason)
    assert by_nvml.found_by == "nvml"
    assert by_nvml.cuda
    assert by_nvml.cuda[0] >= 11
    for gpu in by_nvml.gpus:
        assert gpu.capability >= (3, 0)
        assert 0 < gpu.memory_free <= gpu.memory_total
    by_smi = hardware.gpus(nvml=no_module)
    if by_smi.found_by != "nvidia-smi":
        pytest.skip(by_smi.reason)
    assert (by_smi.driver, by_smi.cuda) == (by_nvml.driver, by_nvml.cuda)
    for one, other in zip(by_nvml.gpus, by_smi.gpus, strict=True):
        assert (one.index, one.name, one.capability) == (other.index, other.name, other.capability)
        assert one.memory_total == pytest.approx(other.memory_total, abs=1024**2)
