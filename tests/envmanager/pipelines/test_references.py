"""steps.NAME.outputs.OUTPUT: exact names, beginnings of names, and errors with candidates."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmanager.errors import BadInput
from envmanager.pipelines import references
from envmanager.pipelines.references import Named

pytestmark = pytest.mark.windows
STEPS = (
    Named("Load Images", ("images",)),
    Named("Run Cellpose (External)", ("masks", "flows")),
    Named("Run Classic", ("masks",)),
    Named("Old", (), enabled=False),
    Named("Measure v1.2", ("table",)),
    Named("Run Cellpose (External) again", ("masks",)),
    Named("Last", ()),
)


def _find(text, at=6, steps=STEPS):
    return references.find(text, steps, at)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("steps.Load Images.outputs.images", (0, "images")),
        (" steps. Load Images .outputs. images ", (0, "images")),
        ("steps.Load.outputs.images", (0, "images")),
        ("steps.Run Classic.outputs.masks", (2, "masks")),
        ("steps.Measure v1.2.outputs.table", (4, "table")),
        ("steps.Measure v1.outputs.table", (4, "table")),
        ("steps.Run Cellpose (External).outputs.flows", (1, "flows")),  # exact wins
        ("steps.Run Cellpose (External) a.outputs.masks", None),
    ],
)
def test_names_and_their_beginnings(text, found):
    if found:
        assert _find(text) == found
    else:
        with pytest.raises(BadInput):
            _find(text)


def test_the_short_name_of_the_reference_pipeline():
    assert _find("steps.Run Cellpose.outputs.masks", at=2) == (1, "masks")


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("steps.Run.outputs.masks", 6, "'Run Cellpose (External)', 'Run Classic', 'Run Cell"),
        ("steps.Run Cellpose.outputs.masks", 6, "several steps"),
        ("steps.Run Cell.outputs.masks", 6, "no earlier step 'Run Cell'"),
        ("steps.run classic.outputs.masks", 6, "Did you mean 'Run Classic'?"),
        ("steps.Laod Images.outputs.images", 6, "Did you mean 'Load Images'?"),
        ("steps.Load Images.outputs.image", 6, "Did you mean 'images'?"),
        ("steps.Run Classic.outputs.flows", 6, "Its outputs: masks"),
        ("steps.Old.outputs.x", 6, "switched off"),
        ("steps.Run Classic.outputs.masks", 1, "comes later"),
        ("steps.Run C.outputs.masks", 1, "no earlier step"),
        ("steps.Measure.outputs.table", 1, "comes later"),
        ("steps.Last.outputs.x", 6, "itself"),
        ("steps.Load Images", 6, "no complete reference"),
        ("steps.Load Images.output.images", 6, "no complete reference"),
        ("steps..outputs.images", 6, "no complete reference"),
        ("steps.Load Images.outputs.", 6, "no complete reference"),
        ("steps.X.outputs.y", 0, "There are none"),
    ],
)
def test_what_is_ambiguous_or_unknown_is_told_with_candidates(text, at, words):
    with pytest.raises(BadInput) as caught:
        _find(text, at)
    assert words in str(caught.value)


def test_an_accent_may_be_written_in_two_ways():
    steps = (Named("Zellen z\u00e4hlen", ("n\u00e4",)), Named("Last", ()))
    assert _find("steps.Zellen za\u0308hlen.outputs.na\u0308", 1, steps) == (0, "n\u00e4")
    with pytest.raises(BadInput):  # the mark belongs to the letter before it
        _find("steps.Zellen za.outputs.n\u00e4", 1, steps)


def test_what_is_meant_as_a_reference():
    assert references.is_reference(" steps.A.outputs.b")
    assert references.is_reference("steps.broken")
    assert not any(map(references.is_reference, ("a/steps.tif", 5, None, ("steps.A.outputs.b",))))


NAMES = st.text(alphabet="ab1_ (.ü-", min_size=1, max_size=6).map(str.strip).filter(bool)


@given(full=NAMES, length=st.integers(0, 6))
def test_a_beginning_ends_at_a_word_boundary(full, length):
    name = full[:length]
    boundaries = {match.start() for match in re.finditer(r"\b|(?<=\W)(?=\W)|$", full)} - {0}
    expected = len(name) in boundaries and bool(name)
    assert references.begins(full, name) == expected


@given(names=st.lists(NAMES, min_size=1, max_size=5, unique=True), wanted=NAMES)
def test_a_name_is_found_only_where_it_is_the_only_one_that_fits(names, wanted):
    steps = [Named(name, ("out",)) for name in [*names, "last one"]]
    exact = [i for i, name in enumerate(names) if name == wanted]
    fitting = exact or [i for i, name in enumerate(names) if references.begins(name, wanted)]
    text = f"steps.{wanted}.outputs.out"
    if len(fitting) == 1:
        assert _find(text, len(names), steps) == (fitting[0], "out")
    else:
        with pytest.raises(BadInput):
            _find(text, len(names), steps)
