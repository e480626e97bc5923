"""What is special in the process of NIS itself."""

import json
import multiprocessing.spawn
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ga3_nodes.standin import embedded
from ga3_nodes.standin.embedded import NIS_EXE, EmbeddedNis
from ga3_nodes.standin.nis import Aborted, NodeFailed, ScriptRefused
from tests.ga3_nodes.standin.standin_scripts import make_script

pytestmark = pytest.mark.windows

STANDIN = Path(embedded.__file__).parent


def test_the_process_is_nis_while_the_script_has_it_and_no_longer(image):
    ours = sys.executable, multiprocessing.spawn.get_executable(), sys.stdout
    head = """
        import sys, multiprocessing.spawn
        seen = [__name__, sys.executable, multiprocessing.spawn.get_executable()]
        assert '__file__' not in globals()
        assert __name__ not in sys.modules
        """
    host = EmbeddedNis(make_script("print(seen, sys.executable)", head=head))
    host.run([image])
    assert "__main__" not in host.log
    assert host.log.count("nis_ar.exe") == 3
    assert (sys.executable, multiprocessing.spawn.get_executable(), sys.stdout) == ours
    assert "limnode" not in sys.modules
    assert NIS_EXE.endswith("nis_ar.exe")


def test_prints_go_to_the_log(image, capsys):
    head = "import sys; print('at module level')"
    run = "print('in run'); limnode.print('by limnode'); sys.stderr.write('an error\\n')"
    host = EmbeddedNis(make_script(run, head=head))
    host.run([image])
    assert host.log.splitlines() == ["at module level", "in run", "by limnode", "an error"]
    assert capsys.readouterr() == ("", "")


def test_abort_is_seen_by_the_script(image):
    run = """
        import time
        while not ctx.shouldAbort:
            time.sleep(0.01)
        """
    looks = iter([False, False, True])
    with pytest.raises(Aborted):
        EmbeddedNis(make_script(run)).run([image], lambda: next(looks))


def test_abort_counts_also_where_the_script_raises(image):
    run = "if ctx.shouldAbort: raise RuntimeError('cancelled')"
    with pytest.raises(Aborted) as caught:
        EmbeddedNis(make_script(run)).run([image], lambda: True)
    assert "cancelled" in str(caught.value.__cause__)


def test_module_level_failure():
    with pytest.raises(NodeFailed, match="module level: ZeroDivisionError"):
        EmbeddedNis(make_script(head="1 / 0"))
    assert "limnode" not in sys.modules


def test_exit_does_not_end_nis(image):
    with pytest.raises(NodeFailed, match="SystemExit: 3"):
        EmbeddedNis(make_script("raise SystemExit(3)")).run([image])


def test_missing_function():
    with pytest.raises(ScriptRefused, match="no function 'build'"):
        EmbeddedNis(make_script().replace("def build", "def built"))


def run_cli(*arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, str(STANDIN), *map(str, arguments), "--json"]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def files(tmp_path, image):
    def write(script):
        np.save(tmp_path / "in.npy", image)
        (tmp_path / "node.py").write_text(script, encoding="utf-8")
        return ["--script", "node.py", "--input", "in.npy", "--output-dir", "out"]

    return write


@pytest.mark.parametrize("mode", ["embedded", "out_of_process"])
def test_command_line(tmp_path, image, python, site, files, mode):
    script = make_script("print('µ'); out[0].data[...] = inp[0].data", version=7)
    arguments = [*files(script), "--version", 7, "--calls", 2]
    if mode == "out_of_process":
        arguments += ["--python", python, "--site", site]
    code, report = run_cli(*arguments, cwd=tmp_path)
    assert (code, report["ok"]) == (0, True)
    assert len(report["times_s"]["run"]) == 2
    assert report["times_s"]["module_level"] >= 0
    assert report["times_s"]["output"] >= 0
    np.testing.assert_array_equal(np.load(report["outputs"][0]), image)


def test_command_line_in_a_clean_process(tmp_path, files):
    """Nothing of ours is in the script's reach but limnode: it would hide a wrong import."""
    head = """
        import sys, os
        assert 'ga3_nodes' not in sys.modules
        try:
            import ga3_nodes
        except ImportError:
            pass
        else:
            raise AssertionError(ga3_nodes)
        assert os.path.dirname(os.getcwd()) == os.getcwd()
        """
    code, report = run_cli(*files(make_script(head=head)), cwd=tmp_path)
    assert code == 0, report


def test_command_line_reports_a_failure(tmp_path, files):
    code, report = run_cli(*files(make_script("raise OSError('gone')")), cwd=tmp_path)
    assert (code, report["ok"], report["error"]) == (1, False, "NodeFailed")
    assert "OSError: gone" in report["message"]


def test_our_future_imports_are_not_the_script_s():
    head = "def f(x: 1 + 1): pass\nassert f.__annotations__['x'] == 2, f.__annotations__"
    EmbeddedNis(make_script(head=head))
