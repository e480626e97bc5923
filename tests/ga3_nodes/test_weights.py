"""Names and paths of weights, as a call resolves them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ga3_nodes import home, params, weights
from ga3_nodes.errors import BadInput, ConfigError, WeightsMissing

pytestmark = pytest.mark.windows

SPEC = {"type": "weights", "default": "cyto3", "choices": [{"value": "cyto3"}, {"value": "nuclei"}]}
DECLARED = {"model": SPEC, "size": {"type": "int", "default": 3}}


def resolve(root, value, spec=SPEC):
    declared = {**DECLARED, "model": spec}
    found = weights.resolve("cells", "Cells", declared, {"model": value, "size": 3}, [root])
    assert found["size"] == 3
    return found["model"]


def lay_out(root, name="cyto3", path="cyto3", **entry):
    folder = home.weights_folder(root, "cells")
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"12")
    files = {path: {"size": 2, "sha256": ""}}
    listing = {"schema": 1, "sets": {name: {"path": path, "files": files, **entry}}}
    (folder / "weights.json").write_text(json.dumps(listing), "utf-8")
    return place


def test_a_present_set_becomes_its_full_path(data_folder):
    place = lay_out(data_folder)
    assert resolve(data_folder, "cyto3") == str(place)
    place = lay_out(data_folder, "lab", "custom/lab/Modell é.bin", custom=True)
    assert resolve(data_folder, "lab") == str(place)


def test_the_list_is_read_again_when_it_changes(data_folder):
    lay_out(data_folder)
    resolve(data_folder, "cyto3")
    lay_out(data_folder, "nuclei", "nuclei")
    with pytest.raises(WeightsMissing):
        resolve(data_folder, "cyto3")


def test_a_file_that_is_gone_is_missing(data_folder):
    lay_out(data_folder).unlink()
    with pytest.raises(WeightsMissing):
        resolve(data_folder, "cyto3")


def test_a_full_path_stays_as_it_is(data_folder, tmp_path):
    (tmp_path / "model é").mkdir()
    assert resolve(data_folder, str(tmp_path / "model é")) == str(tmp_path / "model é")


@pytest.mark.parametrize("value", ["some/file", "..\\file", "C:file", "."])
def test_a_path_that_depends_on_the_current_folder_is_refused(data_folder, value):
    with pytest.raises(BadInput) as caught:
        resolve(data_folder, value)
    assert caught.value.code in ("weights_not_found", "weights_unknown")


def test_what_the_command_line_gives_is_made_a_full_path():
    full = str(Path.cwd() / "some" / "file")
    assert params.from_text("model", SPEC, str(Path("some") / "file")) == full
    assert params.from_text("model", SPEC, "cyto3") == "cyto3"
    assert "name of weights" in params.describe(SPEC)
    with pytest.raises(BadInput):
        params.check("model", SPEC, 3)


def test_values_of_other_types_cost_nothing(data_folder):
    assert weights.resolve("cells", "Cells", {}, {"a": 1}, iter(())) == {"a": 1}


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 2}', '{"schema": 1, "sets": {"a": 1}}'])
def test_a_damaged_list_is_told(data_folder, content):
    lay_out(data_folder)
    (home.weights_folder(data_folder, "cells") / "weights.json").write_text(content, "utf-8")
    with pytest.raises(ConfigError) as caught:
        resolve(data_folder, "cyto3")
    assert caught.value.code == "weights_damaged"


@pytest.mark.parametrize("path", ["../../outside", "/outside", "C:/outside"])
def test_a_list_cannot_lead_out_of_its_folder(data_folder, path):
    lay_out(data_folder)
    listing = {"schema": 1, "sets": {"cyto3": {"path": path, "files": {}}}}
    folder = home.weights_folder(data_folder, "cells")
    (folder / "weights.json").write_text(json.dumps(listing), "utf-8")
    with pytest.raises(ConfigError):
        resolve(data_folder, "cyto3")


def test_variables_hold_the_folder_and_the_modules_own_win(data_folder):
    found = home.variables(data_folder, "cells", {"A": "{weights}/x", "HF_HUB_OFFLINE": "0"})
    folder = str(data_folder / "weights" / "cells")
    assert found == {"A": f"{folder}/x", "HF_HUB_OFFLINE": "0", "GA3ENV_WEIGHTS": folder}


@pytest.mark.parametrize(
    ("name", "fits"),
    [("cyto3", True), ("2D_a-b.c", True), ("a.", False), (".a", False), ("a b", False),
     ("nul.txt", False), ("Custom", False), ("weights.json", False), ("é", False)],
)  # fmt: skip
def test_names_that_every_system_can_have(name, fits):
    assert weights.valid_name(name) is fits
