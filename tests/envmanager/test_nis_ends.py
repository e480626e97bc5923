"""NIS or its node ends while a worker lives on: nothing of ours holds what was theirs."""

from __future__ import annotations

import secrets
import subprocess
import sys

import numpy as np
import psutil
import pytest

from envmanager import nodes
from envmanager.data.paths import SHIPPED_MODULES
from envmanager.modules import catalog
from ga3_nodes import client, records
from ga3_nodes.standin.out_of_process import OutOfProcessNis
from tests import programs
from tests.support import publish
from tests.windows_handles import GRASP, grasp, held

pytestmark = pytest.mark.windows
windows_only = pytest.mark.skipif(sys.platform != "win32", reason="handles of Windows")
WORKER = """
import numpy as np

def segment(image, *, axes="", **parameters):
    return (image > 10).astype(np.int32)
"""
# NIS: starts the node's process, runs it once, and waits to be killed.
NIS = """
import os, sys
from pathlib import Path
import numpy as np
from ga3_nodes.standin.out_of_process import OutOfProcessNis
script, python, site = map(Path, sys.argv[1:])
host = OutOfProcessNis(script.read_text("utf-8"), python=python, site=site)
(mask,) = host.run([np.full((1, 4, 5, 1), 99, np.uint16)])
print(os.getpid(), host.pid, mask.dtype, mask.max(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def script(data_folder) -> str:
    """Publish a worker as `classic`, and return the text of its node."""
    module = catalog.load(SHIPPED_MODULES / "classic")
    publish(data_folder, module.declaration(), WORKER)
    return nodes.script(module, {})


@pytest.fixture
def mine(tmp_path):
    """Return a name for an event and a path for a file."""
    return f"Local\\ga3-test-{secrets.token_hex(8)}", tmp_path / "of NIS.txt"


def _start_nis(script, tmp_path, python, site):
    place = tmp_path / "node.py"
    place.write_text(script, "utf-8")
    process = programs.python(NIS, place, python, site)
    told = process.stdout.readline().split()
    assert told[2:] == ["int32", "1"], process.stderr.read()
    return process, *map(psutil.Process, map(int, told[:2]))


def test_nis_is_killed_and_its_node_ends_but_not_the_worker(
    script, tmp_path, python, site, data_folder
):
    process, nis, node = _start_nis(script, tmp_path, python, site)
    ((_, worker),) = records.live(data_folder)
    nis.kill()
    # Its streams are at their end only when nobody has them any more.
    out, err = process.communicate(timeout=60)
    assert out == "", err
    psutil.wait_procs([node], timeout=60)
    assert not node.is_running()
    result = client.call("classic", "segment", {"image": np.ones((3, 3), np.uint8)})
    assert result.worker_pid == worker.pid


@windows_only
def test_a_worker_inherits_no_handle_of_the_node(script, tmp_path, python, site, mine, data_folder):
    holding = f"{GRASP}\nkept = grasp({mine[0]!r}, {str(mine[1])!r})\n"
    with OutOfProcessNis(holding + script, python=python, site=site) as host:
        (mask,) = host.run([np.full((1, 4, 5, 1), 99, np.uint16)])
        assert mask.all()
        assert held(*mine) == {"event", "file"}
    assert len(records.live(data_folder)) == 1
    assert held(*mine) == set()


@windows_only
def test_a_careless_child_would_inherit_them(mine):
    """Show that the test above can fail."""
    let_go = grasp(*mine)
    code = "import sys; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, close_fds=False
    ) as careless:
        let_go()
        assert held(*mine) == {"event", "file"}
        careless.stdin.close()
    programs.until(lambda: held(*mine) == set())
