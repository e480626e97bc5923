"""Nodes that install their module at the first run: real uv, an index of the tests' own."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time

import numpy as np
import psutil
import pytest

from envmanager import cli, nodes
from envmanager.data.paths import DataFolder
from envmanager.modules import catalog
from ga3_nodes import home, records
from ga3_nodes.standin import nis
from ga3_nodes.standin.embedded import EmbeddedNis
from tests.faults import mini
from tests.local_index import LocalIndex

pytestmark = pytest.mark.slow

CORE = "*/mini_core-*.whl"
FRAME = mini.IMAGE[np.newaxis, ..., np.newaxis]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Serve the wheels of the small module."""
    wheels = mini.make_wheels(tmp_path_factory.mktemp("wheels"))
    with LocalIndex(wheels.all) as index:
        yield index, wheels


@pytest.fixture
def index(served, data_folder, monkeypatch):
    """Return the index of a data folder that knows the module, and has nothing installed."""
    index, wheels = served
    index.mend()
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    wheels.write_module(data_folder / "modules", 1)
    (data_folder / "settings.toml").write_text(f'index_url = "{index.url}"\n', "utf-8")
    yield index
    index.mend()


def script():
    data = DataFolder(home.located(home.places()[0]))
    return nodes.script(catalog.find(mini.NAME, data), {})


def setting(value):
    assert cli.main(["settings", "auto_install", value]) == 0


def of(data_folder):
    """Return the processes that work on this data folder, but for this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("GA3ENV_HOME") == str(data_folder):
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def log(data_folder):
    return (data_folder / "logs" / f"install-{mini.NAME}.log").read_text("utf-8")


def test_the_setting_reaches_the_nodes(index, data_folder):
    for value in (True, False):
        setting(str(value).lower())
        config = json.loads((data_folder / "config.json").read_text("utf-8"))
        assert config["auto_install"] is value


def test_a_node_installs_its_module_and_computes(open_nis, index, data_folder):
    setting("true")
    with open_nis(script()) as host:
        host.build()
        assert not (data_folder / "envs" / mini.NAME).exists()  # not before it is needed
        (mask,) = host.run([FRAME])
        (again,) = host.run([FRAME])
    assert mask[0, ..., 0].tolist() == mini.mask(1)
    np.testing.assert_array_equal(again, mask)
    assert "Download" in log(data_folder)
    assert f"install-{mini.NAME}.log" in host.log
    assert len(records.live(data_folder)) == 1


def test_without_the_setting_nothing_is_installed(open_nis, index, data_folder):
    setting("false")
    with open_nis(script()) as host, pytest.raises(nis.NodeFailed, match=r"Mini is not installed"):
        host.run([FRAME])
    assert not (data_folder / "envs").exists()


def test_what_went_wrong_is_told_in_one_sentence(open_nis, index, data_folder):
    setting("true")
    index.fail(CORE, status=404)
    with open_nis(script()) as host:
        with pytest.raises(nis.NodeFailed, match=r"Mini could not be installed\. \w+") as failed:
            host.run([FRAME])
        assert "Traceback" not in str(failed.value).splitlines()[0]
        index.mend()
        (mask,) = host.run([FRAME])
    assert mask[0, ..., 0].tolist() == mini.mask(1)


def when_asked_for(index, pattern):
    """Return the Abort button, pressed as soon as the index is asked for such a file."""
    pressed = threading.Event()

    def press():
        index.wait_for(pattern)
        pressed.set()

    threading.Thread(target=press, daemon=True).start()
    return pressed.is_set


def test_abort_ends_the_installation_and_all_that_it_started(index, data_folder):
    setting("true")
    index.fail(CORE, stall_after=10_000)
    with EmbeddedNis(script()) as host:
        with pytest.raises(nis.Aborted):
            host.run([FRAME], when_asked_for(index, CORE))
        deadline = time.monotonic() + 20
        while left := of(data_folder):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
        index.mend()
        (mask,) = host.run([FRAME])
    assert mask[0, ..., 0].tolist() == mini.mask(1)


def test_an_installation_that_nis_abandoned_serves_the_next_run(out_of_process, index, data_folder):
    """Out of process, Abort kills the node: the installation goes on, and the next run waits."""
    setting("true")
    index.fail(CORE, stall_after=10_000)
    with out_of_process(script()) as host:
        with pytest.raises(nis.Aborted):
            host.run([FRAME], when_asked_for(index, CORE))
        assert of(data_folder)
        index.mend()
        (mask,) = host.run([FRAME])
    assert mask[0, ..., 0].tolist() == mini.mask(1)
    assert [p.name for p in (data_folder / "envs" / mini.NAME).iterdir() if p.is_dir()] == ["1"]
