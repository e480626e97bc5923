"""Parameters kept by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from envmanager import cli, presets
from envmanager.errors import BadInput, ConfigError
from envmanager.presets import Preset

DECLARED = {
    "threshold": {"type": "float", "default": 1.0, "min": 0.0, "max": 10.0},
    "count": {"type": "int", "default": 3},
    "fill": {"type": "bool", "default": True},
    "mode": {"type": "choice", "default": "a", "choices": [{"value": "a"}, {"value": "b"}]},
    "model": {"type": "weights", "default": ""},
}
VALUES = {"threshold": 2.5, "count": 4, "fill": False, "mode": "b", "model": "C:\\a\\b\n\"'.pt"}


def test_a_preset_comes_back_as_it_was(data):
    preset = Preset("HeLa 20x, größer (µm)", "tiny", "segment", VALUES)
    path = presets.save(data, preset)
    assert path == data.root / "presets" / "tiny" / "HeLa 20x, größer (µm).toml"
    again = presets.load(data, "tiny", preset.name, "segment")
    assert again == preset
    assert again.fitting(DECLARED) == (VALUES, [])
    assert [type(value) for value in again.parameters.values()] == [float, int, bool, str, str]


def test_the_same_name_replaces_whatever_its_letters(data):
    presets.save(data, Preset("Mine", "tiny", "segment", {"count": 1}))
    presets.save(data, Preset("mine", "tiny", "segment", {"count": 2}))
    assert presets.names(data, "tiny") == ["Mine"]
    assert presets.load(data, "tiny", "MINE").parameters == {"count": 2}
    presets.remove(data, "tiny", "mIne")
    assert presets.names(data, "tiny") == []


def test_names_are_those_of_the_function(data):
    presets.save(data, Preset("b", "tiny", "segment", {}))
    presets.save(data, Preset("A", "tiny", "segment", {}))
    presets.save(data, Preset("other", "tiny", "measure", {}))
    assert presets.names(data, "tiny", "segment") == ["A", "b"]
    assert presets.names(data, "tiny") == ["A", "b", "other"]
    assert presets.names(data, "classic") == []


def test_a_preset_of_another_function_is_neither_used_nor_replaced(data):
    presets.save(data, Preset("x", "tiny", "measure", {}))
    with pytest.raises(BadInput, match="of the function measure"):
        presets.load(data, "tiny", "x", "segment")
    with pytest.raises(BadInput, match="there already, of the function measure"):
        presets.save(data, Preset("x", "tiny", "segment", {}))
    assert presets.load(data, "tiny", "x").function == "measure"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\\b", "../x", " a", "a ", "a.", "con", "NUL.x", "a:b", "x" * 81],
)
def test_a_name_stays_in_the_folder(data, name):
    with pytest.raises(BadInput) as refused:
        presets.save(data, Preset(name, "tiny", "segment", {}))
    assert refused.value.code == "bad_preset_name"
    assert not (data.root / "presets").exists()


def test_a_missing_one_names_those_that_are_there(data):
    presets.save(data, Preset("one", "tiny", "segment", {}))
    with pytest.raises(BadInput, match="There are: one"):
        presets.load(data, "tiny", "two", "segment")


def test_a_damaged_file_is_told_and_can_be_replaced(data):
    path = presets.save(data, Preset("x", "tiny", "segment", {}))
    path.write_text("schema = 1\nmodule = ", "utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        presets.load(data, "tiny", "x")
    assert presets.names(data, "tiny") == []
    presets.save(data, Preset("x", "tiny", "segment", {"count": 5}))
    assert presets.load(data, "tiny", "x").parameters == {"count": 5}


def test_what_a_newer_module_does_not_take_is_named():
    preset = Preset("x", "tiny", "segment", {"threshold": 99.0, "gone": 1, "count": 2})
    assert preset.fitting(DECLARED) == ({"count": 2}, ["threshold", "gone"])


def test_the_command_line_saves_and_uses_them(echo, data, tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.array([[1, 5], [9, 9]], np.uint8))
    words = ["segment", "echo", str(tmp_path / "a.npy"), "-o", str(tmp_path / "m.tif"), "--json"]

    def objects(*more: str) -> int:
        assert cli.main([*words, *more]) == 0
        return json.loads(capsys.readouterr().out)["data"]["outputs"][0]["objects"]

    assert objects("-p", "threshold=6", "--save-preset", "bright ones") == 2
    assert presets.load(data, "echo", "bright ones").parameters == {
        "threshold": 6.0,
        "mode": "plain",
    }
    assert objects("--preset", "bright ones") == 2
    assert objects("--preset", "bright ones", "-p", "threshold=2") == 3  # the words win
    assert cli.main([*words, "--preset", "nowhere"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["hint"]) == ("unknown_preset", "There are: bright ones.")
