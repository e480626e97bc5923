"""What a script sees and gives is the same in both modes, on both systems."""

import numpy as np
import pytest

from ga3_nodes.standin import nis
from tests.ga3_nodes.standin.standin_scripts import make_script

pytestmark = pytest.mark.windows

THRESHOLD = "out[0].data[...] = inp[0].data > 20"


@pytest.mark.parametrize("version", [6, 7])
def test_binary_of_object_ids(open_nis, image, version):
    host = open_nis(make_script("out[0].data[...] = inp[0].data", version=version), version)
    (mask,) = host.run([image])
    assert mask.dtype == np.int32
    np.testing.assert_array_equal(mask, image)


def test_parameters_of_7_are_opaque(open_nis, image):
    run = "assert not [name for name in dir(par) if name[0] != '_']; par.diameter"
    with pytest.raises(nis.NodeFailed, match="no attribute 'diameter'"):
        open_nis(make_script(run, version=7), 7).run([image])


def test_binary_of_bytes(open_nis, image):
    host = open_nis(make_script(THRESHOLD, output="out[0].makeNew('a', (1, 2, 3)).makeUInt8()"))
    (mask,) = host.run([image])
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, image > 20)


def test_channels(open_nis, image):
    output = """
        out[0].assign(inp[0])
        out[1].makeNewMono('f', 0xFF00).makeFloat()
        out[2].makeNewRgb('c').makeUInt8()
        """
    run = """
        out[0].data[...] = inp[0].data + 1
        out[1].data[...] = inp[0].data / 2
        out[2].data[..., 1:2] = inp[0].data
        """
    host = open_nis(make_script(run, output=output), outputs=["channel"] * 3)
    plain, half, colour = host.run([image])
    assert (plain.dtype, half.dtype, colour.dtype) == (np.uint16, np.float32, np.uint8)
    np.testing.assert_array_equal(plain, image + 1)
    np.testing.assert_array_equal(half, image / np.float32(2))
    assert colour.shape == (1, 5, 7, 3)
    np.testing.assert_array_equal(colour[..., 1:2], image)
    assert not colour[..., 0].any()


def test_definitions(open_nis, image):
    output = """
        i = inp[0]
        text = f'{i.size} {i.calibration} {i.units} {i.componentCount} {i.bitsPerComponent}'
        out[0].makeNew(text, 7)
        """
    host = open_nis(make_script(output=output))
    (definition,) = host.output([nis.channel(image, calibration=(0.5, 0.5, 0.0))])
    assert definition.name == "(7, 5, 1) (0.5, 0.5, 0.0) ('µm', 'µm', 'µm') 1 16"
    assert definition.size == (7, 5, 1)
    assert definition.calibration == (0.5, 0.5, 0.0)
    assert definition.bitsPerComponent == 8


def test_volume(open_nis):
    volume = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6, 1)
    host = open_nis(make_script("out[0].data[...] = inp[0].data[::-1]"))
    (flipped,) = host.run([volume])
    np.testing.assert_array_equal(flipped, volume[::-1])


def test_tables(open_nis, image):
    output = """
        out[0].makeNew('cells').withLoopCols().withObjectCols()
        out[0].withFloatCol('Area', 'µm²', feature='Area', id='a').withStringCol('Class')
        out[1].makeNew('m', 0)
        """
    run = """
        n = inp[1].colArray('n')
        out[0].withColData('Area', n * 1.5).withColData(['Class', 'ObjectId'], [list('ab'), n])
        out[1].data[...] = 1
        """
    host = open_nis(make_script(run, output=output), outputs=["table", "binary"])
    table, mask = host.run([image, nis.table("t", {"n": [3, 4], "s": ["x", "y"]})])
    assert [c["title"] for c in table.columns] == ["Frame", "Entity", "ObjectId", "Area", "Class"]
    np.testing.assert_array_equal(table.colArray(["Area", 2]), [[4.5, 3], [6, 4]])
    assert table.colArray("Class").tolist() == ["a", "b"]
    assert table.rowCount == 2
    assert mask.all()


@pytest.mark.parametrize("version", [6, 7])
def test_programs(open_nis, version):
    build = "return limnode.TwoPassProgram(loops).overZStack().overTimeLapse().overMultiPoint()"
    host = open_nis(make_script(build=build, version=version), version)
    program = host.build([3, 4])
    assert type(program).__name__ == "TwoPassProgram"
    assert program.loops == [3, 4]
    assert program.over == ("ZStack", "TimeLapse", "MultiPoint")


def test_no_program(open_nis):
    assert open_nis(make_script()).build() is None


def test_program_of_another_kind_is_an_error(open_nis):
    host = open_nis(make_script(build="return 3"))
    with pytest.raises(nis.NodeFailed, match="build returned 3"):
        host.build()


def test_context(open_nis, image):
    run = """
        assert not hasattr(ctx, 'programPass') or ctx.programPass == 2
        assert ctx.shouldAbort is False
        values = [ctx.outCoordinates[1], ctx.finalCall, ctx.inpFilename == 'a.nd2',
                  hasattr(ctx, 'programPass')]
        out[0].data.flat[:4] = values
        """
    host = open_nis(make_script(run))
    fields = {"outCoordinates": (0, 9), "finalCall": False, "inpFilename": "a.nd2"}
    (seen,) = host.run([image], context=fields)
    assert seen.ravel()[:4].tolist() == [9, 0, 1, 0]
    with pytest.raises(TypeError, match="finalcall"):
        host.run([image], context={"finalcall": True})
    (seen,) = host.run([image], context={**fields, "programPass": 2, "finalCall": True})
    assert seen.ravel()[:4].tolist() == [9, 1, 1, 1]


def test_touching_objects_stay_apart_in_a_uint8(open_nis):
    labels = np.zeros((1, 4, 9, 1), np.uint16)
    labels[0, :, :3, 0], labels[0, :, 3:6, 0], labels[0, :, 6:, 0] = 300, 2, 700
    run = "out[0].data[0, :, :, 0] = limnode.separateLabeledImage(inp[0].data[0, :, :, 0]) > 0"
    host = open_nis(make_script(run, output="out[0].makeNew('a', 0)"))
    (mask,) = host.run([labels])
    assert mask.dtype == np.uint8
    assert mask[0, 0, :, 0].tolist() == [1, 1, 1, 0, 1, 0, 1, 1, 1]


def test_module_state_lives_between_runs_and_outputs_start_as_zero(open_nis, image):
    head = "calls = []"
    run = "calls.append(1); assert not out[0].data.any(); out[0].data[...] = len(calls)"
    host = open_nis(make_script(run, head=head))
    assert [host.run([image])[0].max() for _ in range(3)] == [1, 2, 3]


def test_frames_of_changing_size(open_nis):
    host = open_nis(make_script("out[0].data[...] = inp[0].data"))
    for size in (10, 700, 3, 1500):
        frame = np.full((1, size, size, 1), size, np.uint16)
        np.testing.assert_array_equal(host.run([frame])[0], frame)


def test_input_of_the_caller_is_not_changed(open_nis, image):
    before = image.copy()
    open_nis(make_script("inp[0].data[...] = 0")).run([image])
    np.testing.assert_array_equal(image, before)


def test_exception_reaches_the_caller_with_the_remote_text(open_nis, image):
    script = make_script("raise KeyError('no such µodel')")
    host = open_nis(script)
    with pytest.raises(nis.NodeFailed, match="no such µodel") as caught:
        host.run([image])
    assert caught.value.kind == "KeyError"
    line = script.splitlines().index("    raise KeyError('no such µodel')") + 1
    assert f"line {line}, in run" in caught.value.remote_traceback
    assert len(host.output([image])) == 1  # and the host goes on


def test_output_that_defines_nothing_is_an_error(open_nis, image):
    with pytest.raises(nis.NodeFailed, match=r"out\[0\] was neither made new nor assigned"):
        open_nis(make_script(output="pass")).run([image])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        pytest.param("out[0].makeNewMono('a', 0)", "no attribute 'makeNewMono'", id="other-kind"),
        pytest.param("out[0].makeNew('a', 'green')", "a colour is", id="colour-word"),
        pytest.param("out[0].makeNew('a', (1, 2, 300))", "a colour is", id="colour-range"),
        pytest.param("out[0].makeNew('', 1)", "name of an output", id="no-name"),
        pytest.param("out[0].assign(inp[0])", "cannot assign a channel to a binary", id="assign"),
    ],
)
def test_wrong_definitions_are_errors(open_nis, image, output, message):
    with pytest.raises(nis.NodeFailed, match=message):
        open_nis(make_script(output=output)).output([image])


def test_replacing_the_output_array_is_an_error(open_nis, image):
    with pytest.raises(nis.NodeFailed, match="AttributeError"):
        open_nis(make_script("out[0].data = inp[0].data")).run([image])


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(np.zeros((5, 7), np.uint16), id="rank"),
        pytest.param(np.zeros((1, 5, 7, 1)), id="dtype"),
        pytest.param(np.zeros((1, 0, 7, 1), np.uint16), id="empty"),
    ],
)
def test_inputs_that_nis_has_not(open_nis, frame):
    host = open_nis(make_script())
    with pytest.raises(ValueError, match=r"axes|one of"):
        host.run([frame])


def test_wrong_signature_of_the_other_version(open_nis, image):
    script = make_script().replace("def run(inp, out, ctx)", "def run(inp, out, par, ctx)")
    host = open_nis(script, 6)
    with pytest.raises(nis.NodeFailed, match="missing 1 required positional argument"):
        host.run([image])
