"""The parts of limnode that need no host."""

import itertools

import numpy as np
import pytest

from ga3_nodes.standin import limnode, limnode_types

pytestmark = pytest.mark.windows


def separated_slowly(labels):
    """The definition, pixel by pixel."""
    result = labels.copy()
    for place in itertools.product(*map(range, labels.shape)):
        box = labels[tuple(slice(max(i - 1, 0), i + 2) for i in place)]
        if box.max() > labels[place]:
            result[place] = 0
    return result


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64])
def test_separated_2d(dtype):
    labels = np.random.default_rng(1).integers(0, 5, (23, 17)).astype(dtype)
    result = limnode.separateLabeledImage(labels)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, separated_slowly(labels))


def test_separated_3d():
    labels = np.random.default_rng(2).integers(0, 9, (5, 11, 7)).astype(np.int32)
    result = limnode.separateLabeledImage3d(labels)
    np.testing.assert_array_equal(result, separated_slowly(labels))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_separated_at_the_smallest(shape):
    labels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    np.testing.assert_array_equal(limnode.separateLabeledImage(labels), separated_slowly(labels))


def test_separated_leaves_its_input_alone():
    labels = np.array([[1, 2]], np.int32)
    limnode.separateLabeledImage(labels)
    assert labels.tolist() == [[1, 2]]


@pytest.mark.parametrize("labels", [np.zeros(3, np.int32), np.zeros((1, 2, 3), np.int32), [[1]]])
def test_separated_takes_one_rank(labels):
    with pytest.raises(TypeError, match="rank 2"):
        limnode.separateLabeledImage(labels)


def table():
    definition = limnode_types.TableDefinition().makeNew("t")
    definition.withIntCol("n", id="N").withStringCol("s")
    return limnode_types.TableData(definition.columns)


def test_columns_by_title_id_and_index():
    data = table().withColData("N", [1, 2])
    assert data.colArray("n").tolist() == data.colArray(0).tolist() == [1, 2]


def test_unknown_column():
    with pytest.raises(KeyError, match="no column 'x'"):
        table().withColData("x", [1])


def test_data_of_another_shape():
    with pytest.raises(ValueError, match="1-D"):
        table().withColData("n", [[1, 2]])
    with pytest.raises(ValueError, match="2 columns, but data for 1"):
        table().withColData(["n", "s"], [[1, 2]])


def test_a_title_once():
    with pytest.raises(ValueError, match="has a column 'n' already"):
        limnode_types.TableDefinition().makeEmpty("t").withIntCol("n").withFloatCol("n")


def test_unknown_context_field():
    with pytest.raises(TypeError, match="finalcall"):
        limnode_types.Context(finalcall=True)


def test_every_definition_returns_itself():
    channel = limnode_types.ChannelDefinition()
    assert channel.makeNewMono("a", 1).makeFloat().makeUInt16().makeUInt8() is channel
    assert channel.makeNewRgb("a").assign(channel) is channel
    binary = limnode_types.BinaryDefinition()
    assert binary.makeNew("a", 1).makeInt32().makeUInt8() is binary
