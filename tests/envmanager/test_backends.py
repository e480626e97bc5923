"""The choice of torch's build: the rules of the table, by GPU, driver, system and torch version."""

from __future__ import annotations

import itertools
import re
import tomllib
from dataclasses import replace

import pytest

from envmanager.data.paths import SHIPPED_MODULES
from envmanager.errors import BadInput
from envmanager.machine.hardware import Gpu, Hardware
from envmanager.packages import backends, resolution

GIB = 1024**3


def gpu(name, capability, memory=8, index=0):
    return Gpu(index, name, capability, memory * GIB, memory * GIB)


KEPLER = gpu("Quadro K2200M", (3, 5), 2)
PASCAL = gpu("GeForce GTX 1080", (6, 1))
VOLTA = gpu("Tesla V100-PCIE-16GB", (7, 0), 16)
TURING = gpu("NVIDIA GeForce RTX 2080", (7, 5))
AMPERE = gpu("NVIDIA GeForce RTX 3080", (8, 6), 10)
ADA = gpu("NVIDIA GeForce RTX 4090", (8, 9), 24)
HOPPER = gpu("NVIDIA H100 80GB HBM3", (9, 0), 80)
B200 = gpu("NVIDIA B200", (10, 0), 180)
B300 = gpu("NVIDIA B300", (10, 3), 270)
BLACKWELL = gpu("NVIDIA GeForce RTX 5090", (12, 0), 32)
FUTURE = gpu("NVIDIA GeForce RTX 6090", (13, 0), 48)
NONE = Hardware("windows", "none", reason="There is no NVIDIA driver on this computer.")


def machine(*gpus, driver="581.29", system="windows", **more):
    cards = tuple(Gpu(i, g.name, g.capability, g.memory_total, 0) for i, g in enumerate(gpus))
    return Hardware(system, "nvml", cards, driver, (13, 0), **more)


@pytest.mark.parametrize(
    ("card", "driver", "version", "backend"),
    [
        # the rules for 2.13, as GA3_FACTS states them
        (PASCAL, "581.29", "2.13.0", "cu126"),
        (VOLTA, "581.29", "2.13.0", "cu126"),
        (TURING, "581.29", "2.13.0", "cu130"),
        (TURING, "560.94", "2.13.0", "cu126"),
        (AMPERE, "581.29", "2.13.0", "cu130"),
        (ADA, "579.99", "2.13.0", "cu126"),
        (ADA, "580.0", "2.13.0", "cu130"),
        (HOPPER, "560.94", "2.13.0", "cu126"),
        (HOPPER, "610.47", "2.13.0", "cu130"),
        (B200, "581.29", "2.13.0", "cu130"),
        (B300, "581.29", "2.13.0", "cu130"),
        (BLACKWELL, "581.29", "2.13.0", "cu130"),
        # 2.9 and 2.10: 13.0 was experimental, and 12.8 still had Volta
        (PASCAL, "581.29", "2.9.1", "cu126"),
        (VOLTA, "581.29", "2.9.1", "cu128"),
        (VOLTA, "581.29", "2.10.0", "cu128"),
        (BLACKWELL, "572.16", "2.10.0", "cu128"),
        (BLACKWELL, "610.47", "2.10.0", "cu128"),
        # 2.11: Volta left 12.8, 13.0 became stable
        (VOLTA, "581.29", "2.11.0", "cu126"),
        (TURING, "581.29", "2.11.0", "cu130"),
        (TURING, "560.94", "2.11.0", "cu128"),
        (BLACKWELL, "572.16", "2.11.0", "cu128"),
        # 2.12: like 2.13; 2.14: 13.2 is the default; 2.15: no 12.6 any more
        (TURING, "560.94", "2.12.1", "cu126"),
        (BLACKWELL, "581.29", "2.12.1", "cu130"),
        (BLACKWELL, "581.29", "2.14.0", "cu132"),
        (PASCAL, "581.29", "2.14.0", "cu126"),
        (AMPERE, "566.36", "2.14.0", "cu126"),
        (TURING, "581.29", "2.15.0", "cu132"),
    ],
)
def test_a_build_with_kernels_and_a_new_enough_driver_is_chosen(card, driver, version, backend):
    choice = backends.choose(machine(card, driver=driver), version)
    assert (choice.backend, choice.device, choice.problem) == (backend, "cuda:0", None)
    assert choice.gpu
    assert choice.gpu.name == card.name
    assert backend in choice.sentence
    assert card.short_name in choice.sentence
    assert not choice.needs_driver


def test_the_issues_own_example_in_its_words():
    choice = backends.choose(machine(BLACKWELL, driver="566.36"), "2.13.0")
    assert choice.problem == (
        "RTX 5090, compute capability 12.0: torch 2.13 needs its cu130 build and a driver of at "
        "least 580; yours is 566.36: update it first."
    )
    assert (choice.backend, choice.device, choice.needs_driver) == ("cpu", "cpu", "580")
    assert choice.sentence.startswith(choice.problem)
    assert "CPU" in choice.sentence


def test_an_old_driver_explains_the_older_build():
    choice = backends.choose(machine(TURING, driver="560.94"), "2.13.0")
    assert choice.sentence == (
        "RTX 2080, compute capability 7.5: torch 2.13 gets its cu126 build, because cu130 needs a "
        "driver of at least 580 and yours is 560.94."
    )


@pytest.mark.parametrize("driver", ["581.29", "566.36"])  # a newer driver would not help
def test_missing_kernels_explain_the_older_build(driver):
    choice = backends.choose(machine(PASCAL, driver=driver), "2.13.0")
    assert choice.sentence == (
        "GTX 1080, compute capability 6.1: torch 2.13 gets its cu126 build, because cu130 holds no "
        "kernels for the GTX 1080, compute capability 6.1."
    )


@pytest.mark.parametrize(
    ("system", "driver", "runs"),
    [
        ("windows", "528.33", True),
        ("windows", "528.24", False),
        ("windows", "526.98", False),
        ("linux", "526.98", True),
        ("linux", "525.60.13", True),
        ("linux", "525.60.11", False),
        ("linux", "470.223.02", False),
    ],
)
def test_the_lowest_driver_depends_on_the_system(system, driver, runs):
    choice = backends.choose(machine(TURING, driver=driver, system=system), "2.13.0")
    assert choice.backend == ("cu126" if runs else "cpu")
    assert (choice.problem is None) == runs
    assert choice.needs_driver == (
        "" if runs else {"windows": "528.33", "linux": "525.60.13"}[system]
    )


def test_a_linux_driver_of_580_runs_cuda_13():
    for driver, backend in (("580.65.06", "cu130"), ("575.64.05", "cu126")):
        choice = backends.choose(machine(ADA, driver=driver, system="linux"), "2.13.0")
        assert choice.backend == backend


def test_an_unknown_driver_is_not_trusted():
    choice = backends.choose(machine(ADA, driver=""), "2.13.0")
    assert choice.backend == "cpu"
    assert "yours is unknown" in choice.problem


@pytest.mark.parametrize(
    ("card", "version", "other"),
    [(PASCAL, "2.15.0", "2.14"), (VOLTA, "2.15.0", "2.14")],
)
def test_a_gpu_that_torch_dropped_gets_the_cpu_loudly(card, version, other):
    choice = backends.choose(machine(card), version)
    assert (choice.backend, choice.device, choice.needs_driver) == ("cpu", "cpu", "")
    assert f"torch {other} has one" in choice.problem
    assert "would run on the CPU" in choice.problem


@pytest.mark.parametrize("card", [KEPLER, FUTURE])
def test_a_gpu_that_no_torch_knows_gets_the_cpu_loudly(card):
    choice = backends.choose(machine(card), "2.13.0")
    assert choice.backend == "cpu"
    assert "no build of torch 2.13 holds kernels for it; torch" in choice.problem


def test_without_a_gpu_the_reason_is_given():
    choice = backends.choose(NONE, "2.13.0")
    assert (choice.backend, choice.device, choice.problem, choice.gpu) == ("cpu", "cpu", None, None)
    assert choice.sentence == (
        "torch 2.13 gets its CPU build. There is no NVIDIA driver on this computer."
    )
    assert choice.environment == {}


def test_a_driver_without_a_gpu_is_no_problem():
    seen = Hardware("linux", "nvml", driver="580.65.06", reason="It sees no GPU.")
    assert backends.choose(seen, "2.13.0").problem is None


def test_a_broken_driver_is_a_problem():
    broken = Hardware("linux", "none", reason="The NVIDIA driver does not answer.", broken=True)
    choice = backends.choose(broken, "2.13.0")
    assert choice.backend == "cpu"
    assert "does not answer" in choice.problem


# Two GPUs


def test_pascal_and_ada_get_the_build_that_serves_both():
    choice = backends.choose(machine(PASCAL, ADA), "2.13.0")
    assert (choice.backend, choice.device, choice.problem) == ("cu126", "cuda:1", None)
    assert choice.sentence == (
        "RTX 4090, compute capability 8.9: torch 2.13 gets its cu126 build, because cu130 holds no "
        "kernels for the GTX 1080, compute capability 6.1; it also serves the GTX 1080."
    )
    # CUDA would count the RTX 4090 as 0 without this
    assert choice.environment == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_turing_and_blackwell_share_a_build():
    choice = backends.choose(machine(TURING, BLACKWELL), "2.13.0")
    assert (choice.backend, choice.device, choice.problem) == ("cu130", "cuda:1", None)
    assert "also serves the RTX 2080" in choice.sentence


def test_pascal_and_blackwell_share_none_and_the_better_one_wins():
    choice = backends.choose(machine(BLACKWELL, PASCAL), "2.13.0")
    assert (choice.backend, choice.device, choice.problem) == ("cu130", "cuda:0", None)
    assert "it holds no kernels for the GTX 1080" in choice.sentence


def test_the_better_one_counts_more_than_two_older_ones():
    choice = backends.choose(machine(PASCAL, PASCAL, BLACKWELL), "2.13.0")
    assert (choice.backend, choice.device) == ("cu130", "cuda:2")


def test_a_driver_too_old_for_the_better_one_is_a_problem():
    choice = backends.choose(machine(TURING, BLACKWELL, driver="572.16"), "2.13.0")
    assert (choice.backend, choice.device) == ("cu126", "cuda:0")
    assert choice.problem.startswith(
        "RTX 5090, compute capability 12.0: torch 2.13 needs its cu130"
    )
    assert choice.needs_driver == "580"
    assert choice.gpu.short_name == "RTX 5090"


def test_torch_2_15_leaves_the_older_one_unused():
    choice = backends.choose(machine(PASCAL, ADA), "2.15.0")
    assert (choice.backend, choice.device, choice.problem) == ("cu132", "cuda:1", None)
    assert "no kernels for the GTX 1080" in choice.sentence


def test_of_two_alike_the_one_with_more_memory_wins():
    small, large = gpu("RTX A2000", (8, 6), 6), gpu("NVIDIA A100-PCIE-40GB", (8, 0), 40)
    assert backends.choose(machine(small, large), "2.13.0").device == "cuda:1"
    assert backends.choose(machine(ADA, ADA), "2.13.0").device == "cuda:0"


def test_a_gpu_that_does_not_answer_is_mentioned():
    silent = "GPU 1 does not answer (NVML: GPU is lost)."
    choice = backends.choose(machine(ADA, reason=silent, broken=True), "2.13.0")
    assert choice.backend == "cu130"
    assert choice.sentence.endswith(silent)


# By name


def test_cpu_by_name():
    choice = backends.choose(machine(ADA), "2.13.0", "cpu")
    assert (choice.backend, choice.device, choice.problem) == ("cpu", "cpu", None)
    assert choice.sentence == (
        "torch 2.13 gets its CPU build, as asked for; RTX 4090 will not be used."
    )


def test_a_build_by_name():
    choice = backends.choose(machine(ADA), "2.13.0", "cu126")
    assert (choice.backend, choice.device, choice.problem) == ("cu126", "cuda:0", None)
    assert "as asked for" in choice.sentence


def test_an_experimental_build_is_taken_by_name_only():
    for version in ("2.9.1", "2.13.0"):
        name = next(b.name for b in backends.builds(version) if b.experimental)
        assert backends.choose(machine(ADA), version).backend != name
        choice = backends.choose(machine(ADA), version, name)
        assert (choice.backend, choice.device, choice.problem) == (name, "cuda:0", None)
        assert "experimental" in choice.sentence


def test_an_experimental_build_is_not_automatic_even_where_it_stands_first(monkeypatch):
    stable = backends.builds("2.13.0")[:1]
    rows = {(2, 13): (replace(stable[0], cuda="13.2", experimental=True), *stable)}
    monkeypatch.setattr(backends, "_table", lambda: rows)
    assert backends.choose(machine(ADA), "2.13.0").backend == "cu130"
    only = {(2, 13): rows[2, 13][:1]}
    monkeypatch.setattr(backends, "_table", lambda: only)
    assert backends.choose(machine(ADA), "2.13.0").backend == "cpu"


@pytest.mark.parametrize(
    ("cards", "driver", "name", "said", "driver_needed"),
    [
        ([PASCAL], "581.29", "cu130", "holds no kernels", ""),
        ([BLACKWELL], "581.29", "cu126", "holds no kernels", ""),
        ([ADA], "566.36", "cu130", "a driver of at least 580; yours is 566.36", "580"),
        ([], "", "cu126", "needs a GPU", ""),
    ],
)
def test_a_build_that_cannot_run_is_said_loudly(cards, driver, name, said, driver_needed):
    reason = "" if cards else NONE.reason
    choice = backends.choose(machine(*cards, driver=driver, reason=reason), "2.13.0", name)
    assert (choice.backend, choice.device) == (name, "cpu")
    assert said in choice.problem
    assert choice.needs_driver == driver_needed
    assert choice.problem in choice.sentence


@pytest.mark.parametrize("name", ["cu128", "cu999", "rocm6.4", "", "CPU", "13.0"])
def test_a_name_that_this_torch_does_not_have_is_refused_with_the_known_ones(name):
    with pytest.raises(BadInput) as caught:
        backends.choose(machine(ADA), "2.13.0", name)
    assert "torch 2.13" in caught.value.message
    assert caught.value.hint == "Known: auto, cpu, cu130, cu126, cu132 (experimental)."


# Versions


@pytest.mark.parametrize(
    ("version", "label", "row"),
    [("2.16.0", "2.16", "2.15"), ("3.0", "3.0", "2.15"), ("2.8.0", "2.8", "2.9")],
)
def test_an_unknown_version_takes_the_nearest_row_and_says_so(version, label, row):
    choice = backends.choose(machine(BLACKWELL), version)
    assert choice.backend == backends.choose(machine(BLACKWELL), row).backend
    assert choice.sentence.endswith(f"(torch {label} is not in the table; taken from {row})")


@pytest.mark.parametrize("version", ["2.13", "2.13.1", "2.13.0+cu126", "2.13.0rc2", "2.13.0.post1"])
def test_a_version_is_read_as_a_lock_writes_it(version):
    assert backends.choose(machine(PASCAL), version).sentence.startswith("GTX 1080")
    assert "table" not in backends.choose(machine(PASCAL), version).sentence


@pytest.mark.parametrize("version", ["", "new", "2.x"])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(BadInput):
        backends.choose(NONE, version)


# The table


def test_the_table_is_whole():
    raw = tomllib.loads(backends._TABLE.read_text("utf-8"))
    versions = [tuple(map(int, row["version"].split("."))) for row in raw["torch"]]
    assert versions == [(2, minor) for minor in range(9, 16)]
    for row in raw["torch"]:
        assert set(row) == {"version", "builds"}
        for entry in row["builds"]:
            assert set(entry) <= {"cuda", "kernels", "experimental"}
            assert entry["kernels"] == sorted(entry["kernels"], key=float)
            assert entry["cuda"].split(".")[0] in raw["drivers"]
        assert not row["builds"][0].get("experimental")
    for drivers in raw["drivers"].values():
        assert set(drivers) == {"windows", "linux"}


CARDS = [KEPLER, PASCAL, VOLTA, TURING, AMPERE, ADA, HOPPER, B200, BLACKWELL, FUTURE]
VERSIONS = [f"2.{minor}.0" for minor in range(8, 18)]
DRIVERS = ["", "516.94", "528.33", "566.36", "581.29"]


@pytest.mark.parametrize("version", VERSIONS)
def test_whatever_the_machine_the_choice_is_sound(version):
    """What auto chooses has kernels, runs with the driver, and is explained; else it is the CPU."""
    names = [None, *CARDS]
    for first, second, driver in itertools.product(names, names, DRIVERS):
        seen = machine(*(card for card in (first, second) if card), driver=driver, reason="None.")
        choice = backends.choose(seen, version)
        table = {build.name: build for build in backends.builds(version)}
        assert re.fullmatch(r"[A-Zt].*[.)]", choice.sentence)
        if choice.backend == "cpu":
            assert choice.device == "cpu"
            assert bool(choice.problem) == bool(seen.gpus)
        else:
            build, used = table[choice.backend], seen.gpus[int(choice.device[-1])]
            assert build.serves(used)
            assert build.runs_with(seen)
            assert not build.experimental
            assert used.short_name in choice.sentence


def test_what_can_be_asked_for_is_told_by_the_lock_of_a_module():
    offered = resolution.offered(SHIPPED_MODULES / "cellpose" / "requirements.lock")
    assert offered[0] == "cpu"
    assert "cu126" in offered
    assert resolution.offered(SHIPPED_MODULES / "classic" / "requirements.lock") == []


@pytest.mark.gpu
def test_the_real_card_gets_a_build():
    from envmanager.machine import hardware

    seen = hardware.gpus()
    if not seen.gpus:
        pytest.skip(seen.reason)
    choice = backends.choose(seen, "2.13.0")
    assert choice.device.startswith("cuda:") or choice.problem
