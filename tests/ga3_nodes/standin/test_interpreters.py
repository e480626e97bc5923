"""The child on each Python that a node may run in, with a numpy of its own in its folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ga3_nodes.standin import nis
from ga3_nodes.standin.out_of_process import OutOfProcessNis
from tests.ga3_nodes.standin.standin_scripts import make_script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the bench has one Python"),
]

PROJECT = Path(nis.__file__).parents[2]


HEAD = """
import os, sys, numpy
assert os.path.dirname(os.path.dirname(os.path.abspath(numpy.__file__))) == os.getcwd()
assert __file__ == '<stdin>' and sys.argv[0] == '-'
assert os.environ['PYTHONHOME'] == os.path.dirname(sys.executable), os.environ['PYTHONHOME']
"""
OUTPUT = """
out[0].makeNew('cells', 0).makeInt32()
out[1].makeNew('t').withIntCol('n').withStringCol('version')
"""
RUN = """
import subprocess, time
if inp[0].data.max() == 3:
    raise ValueError('three')
while inp[0].data.max() == 4:
    time.sleep(1)
dead = subprocess.run([sys.executable, '-c', ''], stdin=subprocess.DEVNULL, capture_output=True)
assert b"No module named 'encodings'" in dead.stderr, dead
out[0].data[0, :, :, 0] = limnode.separateLabeledImage(inp[0].data[0, :, :, 0])
out[1].withColData(['n', 'version'], [numpy.arange(1), ['%d.%d' % sys.version_info[:2]]])
"""


@pytest.mark.parametrize("version", [6, 7])
def test_node_runs_on(interpreter, version):
    name, python, site = interpreter
    script = make_script(RUN, output=OUTPUT, head=HEAD, version=version)
    kinds = ["binary", "table"]
    with OutOfProcessNis(script, version, python=python, site=site, outputs=kinds) as host:
        mask, table = host.run([np.array([[[[1], [1], [2]]]], np.uint8)])
        assert mask.ravel().tolist() == [1, 0, 2]
        assert table.colArray("version").tolist() == [name]
        with pytest.raises(nis.NodeFailed, match="three"):
            host.run([np.full((1, 1, 1, 1), 3, np.uint8)])
        with pytest.raises(nis.Aborted):
            host.run([np.full((1, 1, 1, 1), 4, np.uint8)], lambda: True)
        mask, _ = host.run([np.full((1, 2, 2, 1), 9, np.uint16)])
        assert (mask == 9).all()


def test_hosts_run_on(interpreter, tmp_path):
    """The stand-in itself, in both modes, on that Python."""
    _, python, site = interpreter
    np.save(tmp_path / "in.npy", np.full((1, 4, 4, 1), 7, np.uint8))
    script = make_script("out[0].data[...] = inp[0].data")
    (tmp_path / "node.py").write_text(script, encoding="utf-8")
    base = ["--script", "node.py", "--input", "in.npy", "--output-dir", "out"]
    for mode in ([], ["--python", python, "--site", site]):
        done = subprocess.run(
            [str(python), "-W", "error", PROJECT / "ga3_nodes" / "standin", *base, *mode],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (np.load(tmp_path / "out" / "output_0.npy") == 7).all()
