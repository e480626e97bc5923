"""The node of docs/nodes.md that uses the one-shot mode and nothing else, word for word."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from ga3_nodes.standin import nis

pytestmark = pytest.mark.windows

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "nodes.md"


@pytest.fixture
def script(echo):
    """The text, but for the place of the environment on this machine."""
    text = DOCUMENT.read_text("utf-8").partition("## Without any client")[2]
    node = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    environment = echo / "envs" / "echo" / "1"
    node, places = re.subn(r"(?m)^ENV = .*$", lambda _: f"ENV = {str(environment)!r}", node)
    node, pythons = re.subn(r'ENV \+ r"[^"]*python\.exe"', lambda _: repr(sys.executable), node)
    assert (places, pythons) == (1, 1)
    return node


def test_the_documented_node_segments(open_nis, script, image):
    host = open_nis(script)
    for frame in (image, image[:, :3]):
        (mask,) = host.run([frame])
        assert mask.dtype == np.int32
        expected = np.cumsum(frame > 0.5).reshape(frame.shape) * (frame > 0.5)
        np.testing.assert_array_equal(mask, expected)


def test_its_failure_reaches_nis_as_a_sentence(open_nis, script, image):
    failing = script.replace('["--input"', '["--param", "mode=refuse", "--input"')
    assert failing != script
    with pytest.raises(nis.NodeFailed, match="The image is too dark"):
        open_nis(failing).run([image])
