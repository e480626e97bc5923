"""Bundles are made: for another computer too, resumed, the same bytes for the same contents."""

from __future__ import annotations

import json
import tomllib
import zipfile

import pytest

from envmanager.bundles import making, manifest, reading
from envmanager.bundles.making import Wanted
from envmanager.bundles.target import Target, here, own_python
from envmanager.data.settings import Settings
from envmanager.errors import BadInput, Cancelled, InstallFailed
from envmanager.events import CancelToken, Notice, Progress
from tests import programs
from tests.envmanager.bundles.conftest import WEIGHTS, workshop
from tests.envmanager.conftest import write_module
from tests.file_server import Fault
from tests.local_index import LocalIndex
from tests.wheels import make_wheel, noise, requirement

pytestmark = pytest.mark.skipif(not here(), reason="bundles are for 64-bit Windows and Linux PCs")

MB = 1_000_000


def test_a_bundle_holds_all_that_its_manifest_says(bundle, shop):
    with zipfile.ZipFile(bundle) as opened:
        names = opened.namelist()
        assert names[0] == manifest.NAME
        values = json.loads(opened.read(manifest.NAME))
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
        ("texture", {}, "not_for_bundle"),
        ("mini", {"weights": ["cyto3"]}, "weights_unknown"),
    ],
)
def test_what_there_can_be_no_bundle_of(shop, tmp_path, module, options, code):
    wanted = Wanted([module], **{"target": Target("linux", "3.12"), **options})
    with pytest.raises(BadInput) as caught:
        making.create(shop.data, shop.settings, wanted, tmp_path / "b.ga3bundle")
    assert caught.value.code == code, caught.value
    assert list(tmp_path.glob("*.ga3bundle*")) == []


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
