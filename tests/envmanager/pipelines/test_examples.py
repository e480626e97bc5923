"""The pipelines of ``docs/examples`` and the commands of ``docs/pipelines.md`` are right."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from ruamel.yaml import YAML

from envmanager import cli
from envmanager.data.paths import DataFolder
from envmanager.modules import catalog
from envmanager.pipelines import document, plan, running
from envmanager.pipelines.plan import Plan
from ga3_nodes import home
from tests.envmanager.pipelines.conftest import REFERENCE
from tests.lab_module import (
    classic_installed,  # noqa: F401
)
from tests.support import PROJECT, publish

EXAMPLES = PROJECT / "docs" / "examples"
GUIDE = (PROJECT / "docs" / "pipelines.md").read_text("utf-8")
CALLS = {
    "cellpose": [("cellpose", "segment")],
    "nuclei": [("classic", "segment")],
    "texture": [("classic", "segment"), ("texture", "measure")],
}


def _blocks(kind: str) -> list[str]:
    blocks = (block.partition("\n") for block in GUIDE.split("```")[1::2])
    return [text for found, _, text in blocks if found == kind]


@pytest.fixture
def images(tmp_path) -> Path:
    """Return a folder with two images of six discs, and one in a folder below."""
    folder = tmp_path / "Bilder ü"
    (folder / "sub").mkdir(parents=True)
    y, x = np.indices((120, 170))
    for number, name in enumerate(("a.tif", "b.tif", "sub/a.tif")):
        pixels = np.random.default_rng(number).normal(200, 5, y.shape)
        for place in range(6):
            cy, cx = 30 + 60 * (place // 3), 30 + 55 * (place % 3)
            pixels += 800 * np.clip(12 - np.hypot(y - cy, x - cx), 0, 1)
        tifffile.imwrite(folder / name, pixels.astype(np.uint16))
    return folder


def _checked(name: str, data_folder: Path, images: Path, out: Path) -> Plan:
    given = {"INPUT_DIR": str(images), "OUTPUT_DIR": str(out)}
    return plan.check(document.load(EXAMPLES / f"{name}.yaml"), given, DataFolder(data_folder))


@pytest.fixture
def declared(data_folder) -> Path:
    """Publish the shipped declarations of all modules that the examples name, with weights."""
    for name in ("cellpose", "classic", "texture"):
        module = catalog.find(name, DataFolder(data_folder))
        publish(data_folder, module.declaration(), "", title=module.title)
    folder = home.weights_folder(data_folder, "cellpose")
    folder.mkdir(parents=True)
    (folder / "cyto3").write_bytes(b"weights")
    (folder / "weights.json").write_text(
        json.dumps({"schema": 1, "sets": {"cyto3": {"path": "cyto3", "files": {}}}})
    )
    return data_folder


def test_every_example_is_in_the_guide():
    assert {path.stem for path in EXAMPLES.iterdir()} == CALLS.keys()
    assert all(f"(examples/{name}.yaml)" in GUIDE for name in CALLS)


def test_the_reference_stands_in_the_guide_as_it_is():
    assert (EXAMPLES / "cellpose.yaml").read_text("utf-8") == REFERENCE
    assert REFERENCE in _blocks("yaml")


@pytest.mark.windows
@pytest.mark.parametrize("name", CALLS)
def test_an_example_is_valid_with_the_shipped_modules(declared, images, tmp_path, name):
    found = _checked(name, declared, images, tmp_path / "out")
    assert [(call.module, call.function) for call in found.calls] == CALLS[name]
    assert found.warnings == ()
    assert found.variables.keys() == {"INPUT_DIR", "OUTPUT_DIR"}
    assert len(found.load.files) == (3 if name == "nuclei" else 2)


def test_the_commands_of_the_guide_are_commands():
    lines = [line for block in _blocks("") for line in block.splitlines()]
    commands = [line for line in lines if "./run " in line or "-m envmanager " in line]
    assert len(commands) >= 5
    for line in commands:
        words = line.replace("-m envmanager", "./run").partition("./run ")[2]
        parsed = cli._parser().parse_args(shlex.split(words, comments=True))
        for path in re.findall(r"docs/examples/\S+", words):
            assert (PROJECT / path).is_file()
        assert callable(parsed.run)


@pytest.mark.slow
def test_the_examples_and_the_list_of_commands_run(environments, classic, images, tmp_path):
    environments.install("texture")
    _check_nuclei(environments.data.root, images, tmp_path / "nuclei")
    _check_texture(environments.data.root, images, tmp_path / "texture")
    _check_commands(images, tmp_path)


def _check_nuclei(root: Path, images: Path, out: Path) -> None:
    done = running.run(_checked("nuclei", root, images, out), out)
    assert (done.done, done.failed, done.objects) == (3, [], 18)
    for stem in ("a", "b", "sub/a"):
        labels = tifffile.imread(out / f"{stem}_nuclei.ome.tif")
        assert (labels.dtype, labels.max(), np.unique(labels).size) == (np.uint16, 6, 7)
        assert len(_rows(out / f"{stem}_nuclei.csv")) == 6
        assert (out / f"{stem}_nuclei.png").stat().st_size > 0
    assert running.run(_checked("nuclei", root, images, out), out).skipped == 3


def _check_texture(root: Path, images: Path, out: Path) -> None:
    done = running.run(_checked("texture", root, images, out), out)
    assert (done.done, done.failed) == (2, [])
    for stem in "ab":
        labels = tifffile.imread(out / f"{stem}_nuclei.ome.tif")
        rows = _rows(out / f"{stem}_texture.csv")
        areas = [np.count_nonzero(labels == int(row["id"])) for row in rows]
        assert [float(row["area"]) for row in rows] == areas


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _check_commands(images: Path, tmp_path: Path) -> None:
    """Follow the guide's list for other runners as they do: word by word, without a shell."""
    (text,) = (block for block in _blocks("yaml") if "commands:" in block)
    (step,) = YAML(typ="safe").load(text)["run"]
    images.rename(tmp_path / "images")
    program, *words = [word.replace("%YAML%", str(tmp_path)) for word in step["commands"]]
    assert program.endswith("/run")
    subprocess.run([sys.executable, "-m", "envmanager", *words], cwd=PROJECT, check=True)
    names = {path.name for path in (tmp_path / "masks").iterdir()}
    assert names == {"a_labels.tif", "a_labels.csv", "b_labels.tif", "b_labels.csv"}
