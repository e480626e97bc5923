"""Bundles are made: for another computer too, resumed, the same bytes for the same contents."""

from __future__ import annotations

import json
import shutil
import tomllib
import zipfile
from dataclasses import replace

import pytest

from envmanager.bundles import making, reading
from envmanager.bundles.making import Wanted
from envmanager.bundles.target import Target, here, own_python, usual_python
from envmanager.data.settings import Settings
from envmanager.errors import BadInput, Cancelled, InstallFailed
from envmanager.events import CancelToken, Notice, Progress
from envmanager.machine import nis
from envmanager.modules import catalog
from envmanager.sharing import sealed
from envmanager.weights import importing
from envmanager.weights.store import Store
from tests import programs
from tests.envmanager.bundles.conftest import WEIGHTS, workshop
from tests.envmanager.conftest import TOML, write_module
from tests.envmanager.disk.test_full_disk import small_disk  # noqa: F401
from tests.file_server import Fault
from tests.local_index import LocalIndex
from tests.wheels import make_wheel, noise, requirement

pytestmark = pytest.mark.skipif(not here(), reason="bundles are for 64-bit Windows and Linux PCs")

MB = 1_000_000


def test_a_bundle_holds_all_that_its_manifest_says(bundle, shop):
    with zipfile.ZipFile(bundle) as opened:
        names = opened.namelist()
        assert names[0] == sealed.MANIFEST
        values = json.loads(opened.read(sealed.MANIFEST))
        pylock = opened.read("locks/mini.toml").decode()
        assert opened.read("weights/mini/small.bin") == WEIGHTS
        large = [i for i in opened.infolist() if i.filename.startswith(("wheels/", "weights/"))]
    assert {info.compress_type for info in large} == {zipfile.ZIP_STORED}
    assert {*names[1:]} == {*values["files"]}
    assert len([name for name in names if name.startswith("wheels/")]) == 3
    assert values["modules"]["mini"]["weights"]["small"]["license"] == "CC-BY-4.0"
    assert values["modules"]["mini"]["weights"]["mine"]["note"] == "trained on Monday"
    packages = tomllib.loads(pylock)["packages"]
    assert [len(package["wheels"]) for package in packages] == [1, 1, 1]
    assert str(shop.data.root) not in pylock
    assert reading.look(bundle).checksum == values["checksum"]


def test_the_same_contents_make_the_same_bytes(bundle, shop, tmp_path):
    again = shop.make(tmp_path / "again.ga3bundle", weights=["small", "mine"])
    assert again.path.read_bytes() == bundle.read_bytes()
    assert not shop.data.downloads.exists()
    assert not shop.data.module("mini").exists()


def test_a_killed_creation_goes_on_where_it_was(data_folder, server, wheels, tmp_path):
    workshop(data_folder, server, wheels)
    name, size = wheels.numpy.name, wheels.numpy.stat().st_size
    server.files[f"/{name}"].faults[:] = [Fault(stall_after=3 * MB)]
    server.asked.clear()
    output = tmp_path / "mini.ga3bundle"
    words = ("bundle", "create", "mini", "-o", output)
    process = programs.command(*words)
    downloads = data_folder / "downloads"
    programs.until(
        lambda: [p for p in downloads.glob(f"*/{name}.part") if p.stat().st_size >= 3 * MB]
    )
    programs.end(process)
    server.go.set()
    assert list(tmp_path.glob("*.ga3bundle*")) == []
    code, found = programs.answer(programs.command(*words))
    assert code == 0, found
    assert found["bytes"] == output.stat().st_size
    assert server.sent(name) == [3 * MB, size - 3 * MB]


def test_a_cancelled_creation_leaves_an_older_file_as_it_was(shop, tmp_path):
    path, cancel = tmp_path / "mini.ga3bundle", CancelToken()
    path.write_bytes(b"the old one")

    def report(event):
        if isinstance(event, Progress) and event.done:
            cancel.cancel()

    wanted = Wanted(["mini"], Target(here(), own_python()))
    with pytest.raises(Cancelled):
        making.create(shop.data, shop.settings, wanted, path, report=report, cancel=cancel)
    assert path.read_bytes() == b"the old one"
    assert [left.name for left in tmp_path.iterdir() if left.is_file()] == [path.name]


# ---- for another computer -----------------------------------------------------------------------


@pytest.fixture
def index(data, tmp_path):
    """Serve a package with a wheel for each system and Python, and write a module that needs it."""
    tags = ["cp311-cp311-win_amd64", "cp312-cp312-win_amd64"]
    tags += ["cp311-cp311-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_17_x86_64"]
    made = [
        make_wheel(tmp_path / tag, "numpy", "1.0", {"numpy.py": "", "x": noise(999, n)}, tag=tag)
        for n, tag in enumerate(tags)
    ]
    lines = [requirement(wheel).split("--hash=")[1].strip() for wheel in made]
    lock = "numpy==1.0 \\\n" + " \\\n".join(f"    --hash={line}" for line in lines) + "\n"
    write_module(data.user_modules / "tiny", lock)
    with LocalIndex(made, sizes=True, metadata=True) as index:
        yield index


@pytest.mark.parametrize("platform", ["windows", "linux"])
@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_it_takes_the_files_for_that_computer(index, data, tmp_path, platform, python):
    wanted = Wanted(["tiny"], Target(platform, python))
    made = making.create(data, Settings(index_url=index.url), wanted, tmp_path / "b.ga3bundle")
    (wheel,) = [name for name in made.manifest.files if name.startswith("wheels/")]
    tag = {"windows": "win_amd64", "linux": "manylinux_2_17_x86_64"}[platform]
    abi = f"cp{python.replace('.', '')}"
    assert wheel.endswith(f"numpy-1.0-{abi}-{abi}-{tag}.whl")
    assert made.manifest.target == Target(platform, python)
    assert reading.look(made.path) == made.manifest


TORCH_TOML = TOML.replace('["numpy"]', '["numpy", "torch"]')


@pytest.fixture
def torch_index(data, tmp_path):
    """Serve torch as PyTorch does, for each backend and system, and write a module with it."""
    tags = [f"cp312-cp312-{system}" for system in ("win_amd64", "manylinux_2_28_x86_64")]

    def wheels(name, version, place, *tags, requires=()):
        files = {f"{name}.py": f"# {place}"}
        folder = tmp_path / place
        return [
            make_wheel(folder, name, version, files, requires=requires, tag=tag) for tag in tags
        ]

    (numpy,) = wheels("numpy", "1.0", "simple", "py3-none-any")
    cuda = wheels("nvidia-cublas-cu12", "12.6", "simple", tags[1])
    ordinary = wheels("torch", "2.13.0", "simple", *tags)
    needed = ["nvidia-cublas-cu12==12.6; platform_system == 'Linux'"]
    served = {
        "simple": [numpy, *cuda, *ordinary],
        "cpu": wheels("torch", "2.13.0+cpu", "cpu", *tags),
        "cu126": wheels("torch", "2.13.0+cu126", "cu126", *tags, requires=needed),
    }
    folder = write_module(data.user_modules / "tiny", "", toml=TORCH_TOML)
    pins = [requirement(numpy), requirement(ordinary[0]), requirement(*cuda)]
    (folder / "requirements.lock").write_text("".join(pins), "utf-8")
    pyproject = (folder / "pyproject.toml").read_text("utf-8")
    pyproject = pyproject.replace('"numpy"', '"numpy", "torch"')
    (folder / "pyproject.toml").write_text(pyproject, "utf-8")
    with LocalIndex(served, sizes=True, metadata=True) as index:
        yield index


@pytest.mark.parametrize(
    ("platform", "backend", "cuda"),
    [("windows", "cpu", 0), ("windows", "cu126", 0), ("linux", "cpu", 0), ("linux", "cu126", 1)],
)
def test_it_takes_the_build_for_the_device_of_that_computer(
    torch_index, data, tmp_path, platform, backend, cuda
):
    """From the index of that backend, whatever GPU is here; the rest from the ordinary one."""
    settings = Settings(index_url=torch_index.url, torch_index=f"http://{torch_index.host}")
    wanted = Wanted(["tiny"], Target(platform, "3.12"), backend)
    made = making.create(data, settings, wanted, tmp_path / "b.ga3bundle")
    wheels = {name.rpartition("/")[2] for name in made.manifest.part("wheels/")}
    system = {"windows": "win_amd64", "linux": "manylinux_2_28_x86_64"}[platform]
    assert f"torch-2.13.0+{backend}-cp312-cp312-{system}.whl" in wheels
    assert len([name for name in wheels if name.startswith("nvidia")]) == cuda
    assert len(wheels) == 2 + cuda
    assert torch_index.requests[f"/{backend}/torch/"]
    assert not torch_index.requests["/simple/torch/"]
    assert made.manifest.modules[0].backend == backend


def test_wheels_of_torch_in_a_folder_serve_only_the_system_that_they_are_for(
    torch_index, data, tmp_path
):
    """Torch for this computer's CPU lies on its disk: a bundle for another one is made from the
    index."""
    (linux,) = (tmp_path / "cpu").glob("*manylinux*")
    folder = tmp_path / "stick"
    folder.mkdir()
    shutil.copy(linux, folder)
    settings = Settings(
        index_url=torch_index.url,
        torch_index=f"http://{torch_index.host}",
        find_links=(str(folder),),
    )
    for platform, asked in [("linux", False), ("windows", True)]:
        wanted = Wanted(["tiny"], Target(platform, "3.12"), "cpu")
        made = making.create(data, settings, wanted, tmp_path / f"{platform}.ga3bundle")
        (name,) = [name for name in made.manifest.files if "/torch-" in name]
        assert ("win_amd64" in name) is asked
        assert bool(torch_index.requests["/cpu/torch/"]) is asked
    with pytest.raises(InstallFailed, match=r"no torch 2\.13\.0.*cpu.*Python 3\.11") as caught:
        making.plan(
            data,
            replace(settings, torch_index=str(folder)),
            replace(wanted, target=Target("linux", "3.11")),
        )
    assert caught.value.code == "torch_missing"


def test_a_file_that_the_lock_does_not_know_is_refused(index, data, tmp_path):
    lock = data.user_modules / "tiny" / "requirements.lock"
    lock.write_text(f"numpy==1.0 \\\n    --hash=sha256:{'0' * 64}\n", "utf-8")
    wanted = Wanted(["tiny"], Target("windows", "3.12"))
    with pytest.raises(InstallFailed) as caught:
        making.create(data, Settings(index_url=index.url), wanted, tmp_path / "b.ga3bundle")
    assert caught.value.code == "hash_mismatch"
    assert not (tmp_path / "b.ga3bundle").exists()


# ---- what cannot be in one ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "options", "code"),
    [
        ("cellpose", {}, "backend_needed"),
        ("cellpose", {"backend": "cu999"}, "backend_needed"),
        ("cellpose", {"target": Target("windows", "3.14")}, "python_not_allowed"),
        ("classic", {"target": Target("windows", "2.7")}, "python_not_allowed"),
        ("texture", {"target": Target("windows", "3.11")}, "python_not_allowed"),
        ("mini", {"weights": ["cyto3"]}, "weights_unknown"),
    ],
)
def test_what_there_can_be_no_bundle_of(shop, tmp_path, module, options, code):
    wanted = Wanted([module], **{"target": Target("linux", "3.12"), **options})
    with pytest.raises(BadInput) as caught:
        making.create(shop.data, shop.settings, wanted, tmp_path / "b.ga3bundle")
    assert caught.value.code == code, caught.value
    assert list(tmp_path.glob("*.ga3bundle*")) == []


@pytest.mark.skipif(here() == "windows", reason="no file can have that name there")
def test_weights_whose_name_windows_does_not_take(data_folder, server, wheels, tmp_path):
    """Nobody could open such a bundle."""
    shop = workshop(data_folder, server, wheels)
    own = tmp_path / "10:30 yeast.bin"
    own.write_bytes(b"weights of my own")
    importing.add(Store(shop.data, catalog.find("mini", shop.data)), own, "mine")
    with pytest.raises(BadInput, match="10:30 yeast") as caught:
        shop.make(tmp_path / "b.ga3bundle", weights=["mine"])
    assert caught.value.code == "bad_name"
    assert list(tmp_path.glob("*.ga3bundle*")) == []


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_next_one_goes_on(small_disk):  # noqa: F811
    """Where the packages are fetched to, and where the bundle is written."""
    output = small_disk.seen / "b.ga3bundle"
    words = ("bundle", "create", "tiny", "-o", str(small_disk.home.parent / output.name))
    for leave in (3 * MB, 24 * MB):
        small_disk.fill(leave=leave)
        assert small_disk.error(*words)["code"] == "disk_full"
        assert not output.exists()
        small_disk.empty()
    small_disk.done(*words)
    assert [left.name for left in small_disk.seen.glob("b*")] == [output.name]
    assert not (small_disk.seen / "home" / "downloads").exists()


def test_the_usual_python_is_one_that_all_modules_run_on(data):
    classic, texture = (catalog.find(name, data) for name in ("classic", "texture"))
    assert usual_python([classic]) == own_python()
    assert usual_python([texture]) == usual_python([classic, texture]) == nis.PYTHON
    old = write_module(data.user_modules / "tiny", "")
    pyproject = (old / "pyproject.toml").read_text("utf-8")
    (old / "pyproject.toml").write_text(pyproject.replace(">=3.10", ">=3.10,<3.11"), "utf-8")
    assert usual_python([catalog.load(old)]) == "3.10"
    assert usual_python([classic, catalog.load(old)]) == "3.10"


def test_wrong_words_are_told_as_data(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("GA3ENV_HOME", str(shop.data.root))
    output = tmp_path / "b.ga3bundle"
    for words, code, expected in [
        (["create", "mini", "-o", output, "--platform", "beos"], 2, "usage"),
        (["create", "-o", output], 2, "usage"),
        (["create", "mini", "-o", tmp_path], 1, "bad_input"),
        (["create", "mini", "-o", output, "--python-sha256", "00"], 2, "usage"),
        (["install", output], 1, "file_unreadable"),
        (["info", output], 1, "file_unreadable"),
    ]:
        found, error = programs.answer(programs.command("bundle", *words))
        assert (found, error["code"]) == (code, expected), (words, error)
    assert not output.exists()


def test_it_says_which_weights_do_not_go_along(shop, tmp_path):
    toml = shop.data.user_modules / "mini" / "module.toml"
    text = toml.read_text("utf-8")
    toml.write_text(text.replace('title = "Small"', 'title = "Small"\ndefault = true'), "utf-8")
    told: list[object] = []
    try:
        wanted = Wanted(["mini"], Target(here(), own_python()))
        making.plan(shop.data, shop.settings, wanted, report=told.append)
    finally:
        toml.write_text(text, "utf-8")
    assert [event.text for event in told if isinstance(event, Notice)] == [
        "mini needs weights that do not go along: small (--weights)."
    ]
