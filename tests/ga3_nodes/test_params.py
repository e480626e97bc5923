"""Parameters against their declaration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ga3_nodes import params
from ga3_nodes.errors import BadInput

pytestmark = pytest.mark.windows

DECLARED = {
    "width": {"type": "float", "default": 1.5, "min": 0.0, "max": 10.0, "unit": "px"},
    "count": {"type": "int", "default": 3, "min": 1},
    "split": {"type": "bool", "default": True},
    "method": {
        "type": "choice",
        "default": "otsu",
        "choices": [{"value": "otsu"}, {"value": "li"}],
    },
    "note": {"type": "text", "default": ""},
}


def test_defaults_fill_in_for_what_is_not_given():
    assert params.complete(DECLARED, {"count": 5}) == {
        "width": 1.5,
        "count": 5,
        "split": True,
        "method": "otsu",
        "note": "",
    }


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("width", 2, 2.0),
        ("width", 0.0, 0.0),
        ("width", 10, 10.0),
        ("count", 4.0, 4),
        ("count", np.int64(4), 4),
        ("width", np.float32(2), 2.0),
        ("split", False, False),
        ("method", "li", "li"),
        ("note", "µm", "µm"),
    ],
)
def test_a_fitting_value_gets_its_declared_type(name, value, result):
    checked = params.check(name, DECLARED[name], value)
    assert (checked, type(checked)) == (result, type(result))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", -0.1),
        ("width", 10.1),
        ("width", math.nan),
        ("width", math.inf),
        ("width", "1"),
        ("width", True),
        ("width", None),
        ("count", 0),
        ("count", 2.5),
        ("count", 10**400),
        ("split", 1),
        ("method", "OTSU"),
        ("method", []),
        ("note", 3),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_does(name, value):
    with pytest.raises(BadInput) as caught:
        params.complete(DECLARED, {name: value})
    assert name in caught.value.message
    assert params.describe(DECLARED[name]) in caught.value.hint


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(BadInput, match="widht") as caught:
        params.complete(DECLARED, {"widht": 1})
    assert "width" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("width", "2.5", 2.5), ("count", "7", 7), ("split", "no", False), ("method", "li", "li")],
)
def test_the_words_of_a_command_line_become_values(name, text, value):
    assert params.from_text(name, DECLARED[name], text) == value


@pytest.mark.parametrize(
    ("name", "text"), [("width", "wide"), ("count", "2.5"), ("split", "maybe"), ("method", "x")]
)
def test_words_that_do_not_fit_are_refused(name, text):
    with pytest.raises(BadInput, match=name):
        params.from_text(name, DECLARED[name], text)


def test_limits_are_told_in_words():
    assert params.describe(DECLARED["width"]) == "a number from 0 to 10 px"
    assert params.describe(DECLARED["count"]) == "a whole number of at least 1"
    assert params.describe(DECLARED["method"]) == "one of otsu, li"
