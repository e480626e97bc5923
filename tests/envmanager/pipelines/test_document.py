"""The form of a pipeline file: what is written, with its lines; what is wrong, with candidates."""

from __future__ import annotations

import pytest

from envmanager.errors import BadInput, PipelineError
from envmanager.pipelines import document
from tests.envmanager.pipelines.conftest import LOAD, REFERENCE, RUN, SAVE, pipeline

pytestmark = pytest.mark.windows


def _parse(text, tmp_path):
    return document.parse(text, tmp_path / "cells.yaml")


def test_the_reference_is_read_with_its_lines(tmp_path):
    read = _parse(REFERENCE, tmp_path)
    assert read.problems == ()
    assert read.name == "Cellpose Segmentation (UV)"
    assert [step.line for step in read.steps] == [4, 11, 19]
    run = read.steps[1]
    assert run.inputs["diameter"] == 30
    assert type(run.inputs["diameter"]) is int
    assert (run.outputs, run.function, run.enabled) == (("masks",), "", True)
    assert (run.line_of("inputs.diameter"), run.line_of("module"), run.line_of("loop")) == (
        16,
        12,
        11,
    )


def test_values_are_plain_and_keep_their_type(tmp_path):
    inputs = "{a: 1, b: 1.5, c: true, d: '30', e: [1, x], f: , g: 1e-3, h: 0x10, i: yes, j: 1_000}"
    step = pipeline(f"  - {{name: S, module: m, inputs: {inputs}}}\n")
    given = _parse(step, tmp_path).steps[0].inputs
    assert given == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": "30",
        "e": (1, "x"),
        "f": None,
        "g": 0.001,
        "h": 16,
        "i": "yes",
        "j": 1000,
    }
    plain = (int, float, bool, str, tuple, type(None))
    assert all(type(value) in plain for value in given.values())


def test_optional_keys(tmp_path):
    text = pipeline(
        "  - {name: A, module: m, loop: z, enabled: false, outputs: [x, {name: y}]}\n",
        "  - {name: B, module: m, loop: [z, c]}\n",
    )
    first, second = _parse(text, tmp_path).steps
    assert (first.loop, first.enabled, first.outputs) == (frozenset("z"), False, ("x", "y"))
    assert (second.loop, second.enabled, second.outputs) == (frozenset("zc"), True, None)


def test_a_file_without_a_name_has_that_of_the_file(tmp_path):
    assert _parse("steps:\n" + LOAD, tmp_path).name == "cells"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: %X%/*.tif\n", 2, "quotes"),
        ("a: 1\nb: *.tif\n", 2, "quotes"),
        ('a: "C:\\data\\*.tif"\n', 1, "backslash"),
        ("a: 1\nb: 2\na: 3\n", 3, "once"),
        ("a:\n\t- b\n", 2, "spaces"),
        ("a: 1\n--- \nb: 2\n", 2, "one pipeline"),
        ("a: b: c\n", 1, "colon"),
        ("a: \x00\n", 1, "text editor"),
        ("[" * 900, 1, "text editor"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(tmp_path, text, line, words):
    with pytest.raises(PipelineError) as caught:
        _parse(text, tmp_path)
    assert f"cells.yaml, line {line}: " in caught.value.message
    assert words in caught.value.hint.lower()
    assert isinstance(caught.value, BadInput)


@pytest.mark.parametrize(
    ("text", "line", "step", "words"),
    [
        ("", 1, "", "holds no pipeline"),
        ("- a\n", 1, "", "holds no pipeline"),
        ("pipeline_name: x\n", 1, "", "'steps' is missing"),
        ("steps: 5\n", 1, "", "'steps' must be a list"),
        ("steps: []\n", 1, "", "'steps' must be a list"),
        ("steps:\n  - 5\n", 2, "", "step 1 is no step"),
        ("pipline_name: x\nsteps:\n" + LOAD, 1, "", "Did you mean 'pipeline_name'?"),
        ("pipeline_name: 5\nsteps:\n" + LOAD, 1, "", "must be a text"),
        (pipeline("  - module: m\n"), 3, "step 1", "'name' is missing"),
        (pipeline("  - name: ''\n    module: m\n"), 3, "step 1", "'name' is missing"),
        (pipeline("  - name: A\n"), 3, "A", "'module' is missing"),
        (pipeline("  - name: 2024-01-01\n    module: m\n"), 3, "step 1", "quotes"),
        (pipeline("  - name: A\n    modul: m\n    module: m\n"), 4, "A", "mean 'module'?"),
        (pipeline("  - name: A\n    module: m\n    input: {}\n"), 5, "A", "mean 'inputs'?"),
        (pipeline("  - name: A\n    module: m\n    inputs: [a]\n"), 5, "A", "keys and values"),
        (pipeline("  - name: A\n    module: m\n    inputs: {a: {b: 1}}\n"), 5, "A", "no value"),
        (pipeline("  - name: A\n    module: m\n    inputs: {a: [[1]]}\n"), 5, "A", "no value"),
        (pipeline("  - name: A\n    module: m\n    inputs: {a: &x [*x]}\n"), 5, "A", "empty item"),
        (pipeline("  - name: A\n    module: m\n    inputs: {a: !!os x}\n"), 5, "A", "no value"),
        (pipeline("  - name: A\n    module: m\n    inputs: {2: x}\n"), 5, "A", "name of an input"),
        (pipeline('  - name: A\n    module: m\n    inputs: {a: "C:\\new"}\n'), 5, "A", "backslash"),
        (pipeline("  - name: A\n    module: m\n    outputs: x\n"), 5, "A", "must be a list"),
        (pipeline("  - name: A\n    module: m\n    outputs: [5]\n"), 5, "A", "needs a name"),
        (pipeline("  - name: A\n    module: m\n    outputs: [{nam: x}]\n"), 5, "A", "mean 'name'?"),
        (pipeline("  - name: A\n    module: m\n    outputs: [x, x]\n"), 5, "A", "two outputs"),
        (pipeline("  - name: A\n    module: m\n    loop: t\n"), 5, "A", "slice by slice"),
        (pipeline("  - name: A\n    module: m\n    enabled: 'no'\n"), 5, "A", "true or false"),
        (pipeline(LOAD, LOAD), 7, "Load", "the same name"),
    ],
)
def test_a_wrong_form_is_told_with_line_and_step(tmp_path, text, line, step, words):
    found = _parse(text, tmp_path).problems
    told = [(p.line, p.step) for p in found if words.lower() in f"{p.message} {p.hint}".lower()]
    assert told[:1] == [(line, step)], found


def test_all_that_is_wrong_is_kept(tmp_path):
    text = pipeline("  - name: A\n    modul: m\n    loop: q\n", RUN, SAVE).replace(
        "module: lab", ""
    )
    assert len(_parse(text, tmp_path).problems) == 4  # module twice, modul, loop


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_files_of_other_editors(tmp_path, newline, encoding):
    path = tmp_path / "größe.yaml"
    path.write_bytes(REFERENCE.replace("\n", newline).encode(encoding))
    assert [step.line for step in document.load(path).steps] == [4, 11, 19]


def test_what_cannot_be_read_is_told(tmp_path):
    path = tmp_path / "x.yaml"
    with pytest.raises(PipelineError, match="no file"):
        document.load(path)
    path.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(PipelineError, match="UTF-8"):
        document.load(path)
    path.write_bytes(b" " * (document.MOST_BYTES + 1))
    with pytest.raises(PipelineError, match="too large"):
        document.load(path)
    with pytest.raises(PipelineError, match="cannot be read"):
        document.load(tmp_path)
