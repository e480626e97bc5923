"""The torch family from an index of its own: which files an install would take, with real uv."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from packaging import tags

from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import BadInput, GA3EnvError, InstallFailed
from envmanager.machine import hardware
from envmanager.packages import resolution, trust
from envmanager.uv.program import Uv
from tests.envmanager.test_backends import AMPERE, BLACKWELL, NONE, PASCAL, machine
from tests.local_index import LocalIndex
from tests.wheels import make_wheel, requirement

OWN_TAG = str(next(tags.sys_tags()))
OTHER_TAG = OWN_TAG.replace(f"cp3{sys.version_info.minor}", "cp39")
PYPROJECT = """
[project]
name = "ga3-module-deep"
version = "1.0.0"
requires-python = ">=3.10"
dependencies = ["helper", "torch"]
"""


class Shop:
    """Tiny wheels for an ordinary index with a CUDA build of torch, and one for each backend."""

    def __init__(self, folder: Path) -> None:
        def wheel(place, name, version="1.0", requires=()):
            text = f"# from {place}\n"
            return make_wheel(
                folder / place, name, version, {f"{name}.py": text}, requires=requires
            )

        self.helper = wheel("simple", "helper", requires=["torch>=2"])
        self.cuda = wheel("simple", "nvidia-cublas", "13.1")
        self.torch = wheel("simple", "torch", "2.13.0", ["nvidia-cublas==13.1"])
        self.old_cuda = wheel("simple", "nvidia-cublas-cu12", "12.6")
        self.builds = {
            "cpu": wheel("cpu", "torch", "2.13.0+cpu"),
            "cu126": wheel("cu126", "torch", "2.13.0+cu126", ["nvidia-cublas-cu12==12.6"]),
            "cu130": wheel("cu130", "torch", "2.13.0+cu130", ["nvidia-cublas==13.1"]),
        }
        self.folder = folder
        self.ordinary = [self.helper, self.cuda, self.torch, self.old_cuda]
        self.served = {"simple": self.ordinary} | {b: [w] for b, w in self.builds.items()}
        self.lock = requirement(self.helper, self.cuda, self.torch)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return Shop(tmp_path_factory.mktemp("wheels with space é"))


@pytest.fixture
def index(shop):
    with LocalIndex(shop.served) as server:
        yield server


@pytest.fixture
def resolve(shop, index, data_folder, tmp_path):
    """Return a function that resolves the module, with settings to change."""
    count = iter(range(99))

    def run(backend="auto", lock=shop.lock, extra=None, **changed):
        folder = tmp_path / f"generation {next(count)}"
        folder.mkdir()
        (folder / "pyproject.toml").write_text(PYPROJECT, "utf-8")
        (folder / "requirements.lock").write_text(lock, "utf-8")
        for name, text in (extra or {}).items():
            (folder / name).write_text(text, "utf-8")
        address = f"http://{index.host}"
        settings = Settings(**{"index_url": index.url, "torch_index": address, **changed})
        uv = Uv(DataFolder(data_folder), settings)
        found = resolution.resolve(folder, uv, Path(sys.executable), backend=backend)
        assert not list(folder.glob("resolve-*"))
        return found

    return run


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(hardware, "gpus", lambda: NONE)


def _versions(found):
    return {wheel.package: wheel.version for wheel in found.wheels}


def test_the_cpu_build_brings_no_cuda_package(resolve):
    found = resolve()
    assert _versions(found) == {"helper": "1.0", "torch": "2.13.0+cpu"}
    assert found.choice.backend == "cpu"


def test_a_cuda_build_brings_what_the_lock_has_for_it(resolve, monkeypatch):
    monkeypatch.setattr(hardware, "gpus", lambda: machine(AMPERE))
    found = resolve()
    assert _versions(found) == {
        "helper": "1.0",
        "nvidia-cublas": "13.1",
        "torch": "2.13.0+cu130",
    }
    assert found.choice.device == "cuda:0"
    assert list(found.trusted) == ["torch-2.13.0+cu130-py3-none-any.whl"]


def test_only_the_family_comes_from_its_index(resolve, index):
    found = resolve("cu130")
    pages = {wheel.package: wheel.url.split("/")[3] for wheel in found.wheels}
    assert pages == {"helper": "simple", "nvidia-cublas": "simple", "torch": "cu130"}
    assert not [path for path in index.requests if path.endswith("simple/torch/")]


def test_a_backend_without_its_lock_is_refused_with_the_names(resolve):
    with pytest.raises(InstallFailed, match="nvidia-cublas-cu12") as caught:
        resolve("cu126")
    assert caught.value.code == "not_locked"
    assert "requirements-cu126.lock" in caught.value.hint


def test_a_lock_of_the_backend_adds_to_the_modules(resolve, shop):
    extra = {"requirements-cu126.lock": requirement(shop.old_cuda)}
    assert _versions(resolve("cu126", extra=extra))["nvidia-cublas-cu12"] == "12.6"
    tampered = {"requirements-cu126.lock": extra["requirements-cu126.lock"].replace("6", "5")}
    with pytest.raises(GA3EnvError):
        resolve("cu126", extra=tampered)


def test_a_tampered_lock_is_refused_for_all_but_the_family(resolve, shop):
    digest = shop.lock.split("helper==1.0 \\\n    --hash=sha256:")[1][:64]
    with pytest.raises(InstallFailed, match="helper") as caught:
        resolve("cpu", shop.lock.replace(digest, digest[::-1]))
    assert caught.value.code == "hash_mismatch"


def test_an_old_driver_stops_before_anything_is_fetched(resolve, index, monkeypatch):
    monkeypatch.setattr(hardware, "gpus", lambda: machine(BLACKWELL, driver="566.36"))
    with pytest.raises(InstallFailed, match=r"RTX 5090.*cu130.*580.*566\.36") as caught:
        resolve()
    assert caught.value.code == "driver_too_old"
    assert "--backend cpu" in caught.value.hint
    assert not index.requests
    assert resolve("cpu").choice.backend == "cpu"  # who asks for it gets it
    assert resolve("cu130").choice.problem


def test_an_old_gpu_gets_the_build_that_holds_its_kernels(resolve, shop, monkeypatch):
    monkeypatch.setattr(hardware, "gpus", lambda: machine(PASCAL))
    extra = {"requirements-cu126.lock": requirement(shop.old_cuda)}
    assert _versions(resolve(extra=extra))["torch"] == "2.13.0+cu126"


def test_a_build_that_changes_under_its_name_is_refused(
    resolve, shop, index, data_folder, tmp_path
):
    trust.remember(DataFolder(data_folder), resolve("cpu").trusted)
    assert resolve("cpu").trusted  # the same file again
    other = make_wheel(tmp_path / "evil", "torch", "2.13.0+cpu", {"torch.py": "import evil\n"})
    index.withdraw("cpu/torch")
    index.add(other, "cpu")
    shutil.rmtree(DataFolder(data_folder).uv_cache)  # uv asks the index again after ten minutes
    with pytest.raises(InstallFailed, match=r"torch-2\.13\.0\+cpu") as caught:
        resolve("cpu")
    assert caught.value.code == "hash_mismatch"
    assert "trusted.json" in caught.value.hint


def test_what_was_trusted_before_stays(data_folder):
    data = DataFolder(data_folder)
    trust.remember(data, {"a.whl": "1"})
    trust.remember(data, {"b.whl": "2"})
    assert json.loads((data_folder / "trusted.json").read_text("utf-8")) == {
        "a.whl": "1",
        "b.whl": "2",
    }
    assert [path.name for path in data_folder.iterdir()] == ["trusted.json"]


@pytest.mark.parametrize("layout", ["by backend", "all in one", "as a URL", "find-links"])
def test_a_folder_takes_the_place_of_the_index(resolve, shop, index, tmp_path, layout):
    folder = tmp_path / "USB stick ü"
    for backend, wheel in shop.builds.items():
        place = folder / backend if layout == "by backend" else folder
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(wheel, place)
    place = folder.as_uri() if layout == "as a URL" else str(folder)
    changed = {"find_links": (place,)} if layout == "find-links" else {"torch_index": place}
    for backend in ("cpu", "cu130"):
        found = resolve(backend, **changed)
        assert _versions(found)["torch"] == f"2.13.0+{backend}"
        (size,) = (wheel.size for wheel in found.wheels if wheel.package == "torch")
        assert size == shop.builds[backend].stat().st_size
    assert not [path for path in index.requests if path.startswith(("/cpu", "/cu130"))]


@pytest.mark.parametrize("tag", ["py3-none-any", OWN_TAG, "cp39-cp39-win_amd64", OTHER_TAG])
def test_wheels_in_a_folder_that_this_python_does_not_take_are_passed_over(
    resolve, index, tmp_path, tag
):
    make_wheel(tmp_path / "stick", "torch", "2.13.0+cpu", {"torch.py": ""}, tag=tag)
    (tmp_path / "stick" / "torch-2.13.0+cpu-what.whl").touch()
    found = resolve("cpu", find_links=(str(tmp_path / "stick"),))
    assert _versions(found)["torch"] == "2.13.0+cpu"
    fits = tag in ("py3-none-any", OWN_TAG)
    assert bool(index.requests["/cpu/torch/"]) is not fits


def test_a_folder_without_the_build_is_named(resolve, shop, tmp_path):
    (tmp_path / "stick").mkdir()
    shutil.copy(shop.builds["cu130"], tmp_path / "stick")
    with pytest.raises(InstallFailed, match=r"no torch 2\.13\.0.*cpu") as caught:
        resolve("cpu", torch_index=str(tmp_path / "stick"))
    assert caught.value.code == "torch_missing"


def test_a_mirror_of_one_backend(resolve, index):
    found = resolve("cu130", torch_index=f"http://{index.host}/cu130/")
    assert _versions(found)["torch"] == "2.13.0+cu130"


def test_a_module_without_torch_has_no_backends(resolve, shop, tmp_path):
    lonely = make_wheel(tmp_path, "lonely", "1.0", {"lonely.py": ""})
    with pytest.raises(BadInput, match="no torch"):
        resolve("cu130", requirement(lonely))


def test_an_unknown_backend_is_named_with_the_known_ones(resolve):
    with pytest.raises(BadInput, match="rocm") as caught:
        resolve("rocm")
    assert "cu130" in caught.value.hint
