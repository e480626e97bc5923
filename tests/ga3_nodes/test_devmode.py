"""GA3ENV_DEV: an edited worker.py of a user's module is used by the next call; only then."""

from __future__ import annotations

import os

import numpy as np
import pytest

from ga3_nodes import client, records
from ga3_nodes.errors import ModuleFailed
from tests.support import ECHO_DECLARATION, publish

pytestmark = pytest.mark.windows

IMAGE = np.ones((2, 2), np.uint8)
WORKER = """
import numpy as np
LOADED = []
def segment(image, *, threshold=0.5, mode=""):
    LOADED.append(1)
    return np.full(image.shape, 100 * {number} + len(LOADED))
def measure(image, other):
    pass
"""


@pytest.fixture
def source(data_folder, monkeypatch):
    """A module of the user's own, installed: the generation gives 1.., its folder other."""
    publish(data_folder, ECHO_DECLARATION, WORKER.format(number=1))
    folder = data_folder / "modules" / "echo"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GA3ENV_DEV", "1")
    return folder / "worker.py"


def _value():
    return int(client.call("echo", "segment", {"image": IMAGE})["labels"][0, 0])


def _edit(source, number):
    source.write_text(WORKER.format(number=number), "utf-8")


def test_an_edit_is_used_by_the_next_call(source):
    _edit(source, 2)
    pid = client.call("echo", "segment", {"image": IMAGE}).worker_pid
    assert _value() == 202  # loaded once
    for number in (3, 4, 5, 6):  # of one length, within one second
        _edit(source, number)
        assert _value() == 100 * number + 1
    assert client.start("echo") == pid


def test_stale_bytecode_is_not_believed(source):
    import py_compile

    _edit(source, 2)
    py_compile.compile(str(source), doraise=True)
    before = source.stat()
    _edit(source, 3)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _value() == 301


def test_a_syntax_error_is_told_and_the_next_edit_mends_it(source):
    _edit(source, 2)
    pid = client.call("echo", "segment", {"image": IMAGE}).worker_pid
    source.write_text("def segment(:\n", "utf-8")
    for _ in range(2):
        with pytest.raises(ModuleFailed, match=r"worker\.py.*SyntaxError") as caught:
            _value()
        assert caught.value.code == "import_failed"
        assert "next call" in caught.value.hint
    source.write_text("import no_such_package\n", "utf-8")
    with pytest.raises(ModuleFailed, match="no_such_package"):
        _value()
    source.write_text("def segment(image):\n    pass\n", "utf-8")
    with pytest.raises(ModuleFailed, match="no function 'measure'"):
        _value()
    _edit(source, 7)
    assert _value() == 701
    assert client.start("echo") == pid


def test_who_does_not_ask_for_it_gets_the_generation(source, monkeypatch, data_folder):
    _edit(source, 2)
    assert _value() == 201
    monkeypatch.delenv("GA3ENV_DEV")
    assert [_value(), _value()] == [101, 102]
    _edit(source, 3)
    assert _value() == 103
    assert len(records.live(data_folder)) == 2
    monkeypatch.setenv("GA3ENV_DEV", "1")
    assert _value() == 301


def test_a_module_without_a_folder_of_the_users_is_never_served_from_elsewhere(source):
    assert not source.exists()
    assert _value() == 101


def test_a_folder_that_vanishes_is_told(source):
    _edit(source, 2)
    assert _value() == 201
    again = source.rename(source.with_name("kept.py"))
    assert _value() == 101  # not in development any more
    again.rename(source)
    assert _value() == 202
