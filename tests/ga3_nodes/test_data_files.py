"""Images by path: opened in the worker, whole, never written to, and nothing else is opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from envmanager.data.paths import uv_binary
from ga3_nodes import client, data_files
from ga3_nodes.errors import BadInput
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

pytestmark = pytest.mark.windows

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def _labels(image, threshold=0.5):
    return np.cumsum(image > threshold).reshape(image.shape) * (image > threshold)


@pytest.fixture
def npy(tmp_path):
    np.save(tmp_path / "Bild ü.npy", IMAGE)
    return tmp_path / "Bild ü.npy"


def test_a_path_stands_for_the_array_in_it(echo, npy, tmp_path):
    tifffile.imwrite(tmp_path / "plain.tif", IMAGE)
    tifffile.imwrite(tmp_path / "packed.TIFF", IMAGE, compression="zlib")
    for path in (npy, str(npy), tmp_path / "plain.tif", tmp_path / "packed.TIFF"):
        result = client.call("echo", "segment", {"image": path}, {"threshold": 4})
        np.testing.assert_array_equal(result["labels"], _labels(IMAGE, 4))


def test_paths_and_arrays_go_together_also_in_a_batch(echo, npy):
    result = client.call("echo", "measure", {"image": npy, "other": IMAGE})
    np.testing.assert_array_equal(result["sum"], IMAGE * 2.0)
    images = [{"image": npy}, {"image": IMAGE}, {"image": npy.with_name("gone.npy")}]
    outcomes = list(client.call_many("echo", "segment", images))
    np.testing.assert_array_equal(outcomes[0]["labels"], outcomes[1]["labels"])
    assert outcomes[2].code == "no_such_file"


WRITER = """
def segment(image, *, threshold=0.5, mode=""):
    image[...] = 7
    return image > threshold
def measure(image, other):
    pass
"""


@pytest.mark.parametrize("kind", [".npy", ".tif"])
def test_a_module_that_writes_into_its_input_changes_no_file(data_folder, tmp_path, kind):
    publish(data_folder, ECHO_DECLARATION, WRITER)
    path = tmp_path / f"image{kind}"
    np.save(path, IMAGE) if kind == ".npy" else tifffile.imwrite(path, IMAGE)
    before = path.read_bytes()
    assert client.call("echo", "segment", {"image": path})["labels"].all()
    client.close()
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_big_file_does_not_cross_the_callers_memory(echo, tmp_path):
    big = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, (300, 1000, 1000))
    big.flush()
    del big
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import pathlib, re\n"
        "from ga3_nodes import client\n"
        "r = client.call('echo', 'segment', {'image': sys.argv[2]}, {'mode': 'refuse'})\n"
    )
    code = code.replace("r = ", "try:\n    ").rstrip() + (
        "\nexcept Exception as error:\n    print(error)\n"
        # Not ru_maxrss, which begins with that of the process it was forked from.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', status)[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(PROJECT), str(tmp_path / "big.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    told, kilobytes = done.stdout.splitlines()
    assert "too dark" in told  # the module was called with it
    assert int(kilobytes) < 200_000
    assert psutil.virtual_memory().total > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("image.npy", "full path", id="relative"),
        pytest.param("/no/such/image.npy", "no image file|full path", id="missing"),
        pytest.param("{}", "kind", id="folder"),
        pytest.param("{}/evil.pkl", "kind '.pkl' is not known", id="pickle"),
        pytest.param("{}/code.py", "kind", id="program"),
        pytest.param("{}/a.npy\0.tif", "full path", id="null-byte"),
        pytest.param("{}/folder.npy", "no image file", id="folder-of-a-known-name"),
        pytest.param("{}/file.zarr", "no image file", id="file-in-place-of-a-folder"),
    ],
)
def test_other_paths_are_refused_on_both_sides(echo, tmp_path, name, message):
    for file in ("evil.pkl", "code.py", "file.zarr"):
        (tmp_path / file).write_bytes(b"x")
    (tmp_path / "folder.npy").mkdir()
    path = name.format(tmp_path)
    with pytest.raises(BadInput, match=message):
        client.call("echo", "segment", {"image": path})
    with pytest.raises(BadInput, match=message):  # what the worker does
        data_files.read(path)


@pytest.mark.parametrize("name", ["objects.npy", "cut.npy", "empty.npy", "cut.tif", "complex.npy"])
def test_damaged_files_and_pickles_are_refused_and_the_worker_lives_on(echo, tmp_path, name):
    pid = client.start("echo")
    np.save(tmp_path / "objects.npy", np.array([print, {}], object), allow_pickle=True)
    np.save(tmp_path / "whole.npy", np.zeros((100, 100)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:500])
    (tmp_path / "empty.npy").touch()
    tifffile.imwrite(tmp_path / "cut.tif", np.zeros((100, 100)))
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:500])
    np.save(tmp_path / "complex.npy", np.zeros((3, 3), complex))
    with pytest.raises(BadInput, match=name):
        client.call("echo", "segment", {"image": tmp_path / name})
    assert client.call("echo", "segment", {"image": IMAGE}).worker_pid == pid


def test_an_image_without_pixels_can_be_read(tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 4), np.uint8))
    assert data_files.read(tmp_path / "none.npy").shape == (0, 4)


def test_a_missing_package_is_named(echo, tmp_path):
    (tmp_path / "image.zarr").mkdir()
    code = "import sys; sys.modules['zarr'] = None\n"
    publish(echo, {**ECHO_DECLARATION, "name": "bare"}, code + ECHO_WORKER)
    with pytest.raises(BadInput, match="'zarr' is missing") as caught:
        client.call("bare", "segment", {"image": tmp_path / "image.zarr"})
    assert caught.value.code == "missing_package"


UV = uv_binary()
MAKE = """
import sys, numpy as np, zarr
image = np.arange(12, dtype="u2").reshape(3, 4)
zarr.save_array(sys.argv[1] + "/plain.zarr", image)
for name, key in (("old.zarr", ""), ("ome.zarr", "ome")):
    group = zarr.open_group(sys.argv[1] + "/" + name, mode="w")
    full = group.create_array("s0", shape=(1, 1, 1, 3, 4), dtype="u2")
    full[...] = image.reshape(full.shape)
    group.create_array("s1", shape=(1, 1, 1, 1, 2), dtype="u2")
    scales = {"multiscales": [{"datasets": [{"path": "s0"}, {"path": "s1"}]}]}
    group.attrs.update({key: scales} if key else scales)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="once ended the tests under Wine")
def test_ome_zarr_through_the_modules_own_zarr(data_folder, tmp_path):
    environment = tmp_path / "env"
    subprocess.run([UV, "venv", "-q", "-p", sys.executable, environment], check=True)
    python = environment / "bin/python"
    subprocess.run([UV, "pip", "install", "-q", "-p", python, "numpy", "zarr>=3"], check=True)
    subprocess.run([python, "-c", MAKE, tmp_path], check=True)
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER, python=str(python))
    for name in ("plain.zarr", "old.zarr", "ome.zarr"):
        result = client.call("echo", "segment", {"image": tmp_path / name}, {"threshold": 4})
        np.testing.assert_array_equal(result["labels"], _labels(IMAGE, 4))
