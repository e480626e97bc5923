"""%NAME% in the texts of a pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from envmanager.errors import BadInput, UsageError
from envmanager.pipelines import variables
from envmanager.pipelines.variables import Variables

pytestmark = pytest.mark.windows


def test_the_command_line_wins_over_the_environment_and_what_was_used_is_known():
    names = Variables({"A": "given", "B": "unused"}, {"A": "shell", "C": "from outside"})
    assert names.resolve("%A%/x/%C%.tif") == "given/x/from outside.tif"
    assert names.used == {"A": "given", "C": "from outside"}


def test_the_environment_of_this_process_is_asked(monkeypatch):
    monkeypatch.setenv("GA3ENV_TEST_PLATE", "plate 7")
    assert Variables({}).resolve("%GA3ENV_TEST_PLATE%") == "plate 7"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("100%%", "100%"),
        ("100 % of 5 % x", "100 % of 5 % x"),
        ("%%A%%", "%A%"),
        ("%%%A%%%", "%1%"),
        ("%A%%A%", "11"),
        ("50%%_%A%", "50%_1"),
        ("%", "%"),
        ("%Programme(x86)%", "P"),
        ("%Größe%", "G"),
    ],
)
def test_percent_signs(text, result):
    names = {"A": "1", "Programme(x86)": "P", "Größe": "G"}
    assert Variables(names, {}).resolve(text) == result


def test_a_value_is_not_filled_in_again():
    assert Variables({"A": "%B%", "B": "x"}, {}).resolve("%A%") == "%B%"


def test_the_stem_stays_where_it_is_wanted_and_is_refused_elsewhere():
    names = Variables({}, {"STEM": "x"})
    assert names.resolve("out/%STEM%.tif", keep=("STEM",)) == "out/%STEM%.tif"
    with pytest.raises(BadInput, match="path of an output"):
        Variables({}, {}).resolve("%STEM%")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("%INPUT_DIR%", "--input-dir"),
        ("%OUTPUT_DIR%", "--output-dir"),
        ("%PLAT%", "Did you mean 'PLATE'"),
        ("%plate%", "Did you mean 'PLATE'"),
        ("%OTHER%", "--set OTHER="),
    ],
)
def test_an_unknown_one_is_told_with_the_next_step(text, hint):
    with pytest.raises(BadInput) as caught:
        Variables({"PLATE": "7"}, {"HOME": "/root"}).resolve(text)
    assert text in caught.value.message
    assert hint in caught.value.hint
    assert "HOME" not in caught.value.hint  # of the environment are too many


def test_what_the_command_line_gives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = variables.given(Path("in"), Path("out dir"), ["PLATE=7", "EMPTY=", "EQ=a=b"])
    assert found == {
        "PLATE": "7",
        "EMPTY": "",
        "EQ": "a=b",
        "INPUT_DIR": str(tmp_path / "in"),
        "OUTPUT_DIR": str(tmp_path / "out dir"),
    }


@pytest.mark.parametrize("text", ["PLATE", "=7", "two words=7", "7=x", "STEM=x", "A%B=1"])
def test_a_setting_that_is_none_is_refused(text):
    with pytest.raises(UsageError):
        variables.given(settings=[text])


def test_the_names_in_a_text():
    text = "%INPUT_DIR%/%PLATE%/%PLATE%_100%%_%STEM%.tif"
    assert variables.named(text) == ["INPUT_DIR", "PLATE"]
