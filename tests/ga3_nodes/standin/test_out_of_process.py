"""What is special in the child of NIS: its start, its environment, its end."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ga3_nodes.standin import nis
from ga3_nodes.standin.out_of_process import OutOfProcessNis
from tests.ga3_nodes.standin.standin_scripts import make_script

pytestmark = pytest.mark.windows
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc or /dev/shm")

# The command of a process that shows that it lives: it writes a file, ten times a second.
GRANDCHILD = """
import os, subprocess, sys
code = '''
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
for i in range(600):
    (folder / 'beat').write_text(str(i))
    time.sleep(0.1)
    if (folder / 'stop').exists():
        break
'''
clean = {{k: v for k, v in os.environ.items() if k != 'PYTHONHOME'}}
command = [sys.executable, '-c', code, {folder!r}]
"""
# With a console of its own, too: under Wine, the conhost of the child's holds the child's pipes as
# long as any process is attached to it.
QUIET = (
    "subprocess.Popen(command, env=clean, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,"
    " stderr=subprocess.DEVNULL, creationflags=getattr(subprocess, 'CREATE_NO_WINDOW', 0))"
)
CARELESS = "subprocess.Popen(command, env=clean)"


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def grandchild(tmp_path):
    """The folder of a grandchild's signs of life; what was started there ends with the test."""
    yield tmp_path
    (tmp_path / "stop").touch()


def beat(folder):
    try:
        return (folder / "beat").read_text()
    except OSError:  # not there yet, or just being written
        return ""


def assert_beats(folder):
    before = beat(folder)
    wait_until(lambda: beat(folder) not in ("", before))


def test_start_is_that_of_nis(out_of_process, image, site):
    head = """
        import os, sys
        assert __name__ == '__main__' and __file__ == '<stdin>', __file__
        assert sys.argv[0] == '-' and len(sys.argv) == 2 and sys.argv[1].isdigit(), sys.argv
        assert os.path.samefile(sys.path[0] or '.', os.getcwd()), sys.path
        assert os.path.dirname(os.path.abspath(limnode.__file__)) == os.getcwd()
        assert not any('poison' in entry for entry in sys.path), sys.path
        """
    host = out_of_process(make_script("print(os.getcwd())", head=head))
    host.run([image])
    host.close()
    assert site.samefile(host.log.strip())


def test_child_lives_between_runs(out_of_process, image):
    host = out_of_process(make_script("import os; out[0].data[...] = os.getpid() % 2**31"))
    pids = {int(host.run([image])[0].max()) for _ in range(3)}
    assert pids == {host.pid}


def test_prints_are_read_when_the_child_ends(out_of_process, image):
    host = out_of_process(make_script("print('hello')"))
    host.run([image])
    assert host.log == ""
    host.close()
    assert host.log.strip() == "hello"


def test_poisoned_environment(out_of_process, image, python, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    run = """
        import os
        print(os.environ['PYTHONHOME'])
        print(os.environ['PATH'].split(os.pathsep)[0])
        print('PYTHONPATH' in os.environ, any('STANDIN' in name for name in os.environ))
        """
    host = out_of_process(make_script(run))
    host.run([image])
    host.close()
    home = str(python.parent)
    assert host.log.splitlines() == [home, home, "False False"]


def test_grandchild_inherits_the_poison(out_of_process, image):
    """On Linux it kills every Python; on Windows it would be another version that dies."""
    run = """
        import subprocess, sys
        look = [sys.executable, '-c', 'import os; print(os.environ["PYTHONHOME"])']
        done = subprocess.run(look, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        print(done.returncode, done.stdout.strip(), done.stderr)
        """
    host = out_of_process(make_script(run))
    host.run([image])
    host.close()
    if sys.platform == "win32":
        assert host.log.startswith("0 " + sys.base_prefix)
    else:
        assert "No module named 'encodings'" in host.log


def test_abort_kills_the_child_but_not_its_children(out_of_process, image, grandchild):
    head = GRANDCHILD.format(folder=str(grandchild))
    run = f"""
        import time
        if inp[0].data.max() > 30:
            {QUIET}
            while not ctx.shouldAbort:
                time.sleep(0.05)
        """
    host = out_of_process(make_script(run, head=head))
    pressed = []

    def abort():
        if beat(grandchild):
            pressed.append(time.monotonic())
        return bool(pressed)

    with pytest.raises(nis.Aborted):
        host.run([image], abort)
    assert host.pid is None
    assert len(pressed) == 1
    assert time.monotonic() - pressed[0] < 5  # and not the 5 s of pipes that are kept open
    assert_beats(grandchild)
    (mask,) = host.run([image // 2])  # a new child
    assert not mask.any()
    host.close()  # nothing to complain about: the grandchild holds none of the pipes


@pytest.mark.parametrize("end", ["close", "abort", "crash"])
def test_grandchild_with_inherited_pipes_is_reported(python, site, image, grandchild, end):
    head = GRANDCHILD.format(folder=str(grandchild))
    run = f"""
        import os, time
        {CARELESS}
        while {end!r} == 'abort':
            time.sleep(0.05)
        if {end!r} == 'crash':
            os._exit(5)
        """
    script = make_script(run, head=head)
    host = OutOfProcessNis(script, python=python, site=site, close_timeout_s=1)
    if end == "close":
        host.run([image])
    else:
        with pytest.raises((nis.Aborted, nis.ChildDied)):
            host.run([image], lambda: end == "abort" and beat(grandchild) != "")
    with pytest.raises(nis.PipesKeptOpen, match="inherited pipes kept open"):
        host.close()
    host.close()  # said once
    assert_beats(grandchild)


def test_crash_and_recovery(out_of_process, image):
    run = """
        import os, sys
        if inp[0].data.max() > 30:
            print('last words', file=sys.stderr, flush=True)
            os._exit(7)
        """
    host = out_of_process(make_script(run))
    with pytest.raises(EOFError, match="last words") as caught:
        host.run([image])
    assert isinstance(caught.value, nis.ChildDied)
    assert caught.value.exit_code == 7
    host.run([image // 2])


def test_exit_ends_the_child(out_of_process, image):
    host = out_of_process(make_script("raise SystemExit(3)"))
    with pytest.raises(nis.ChildDied, match="exit code 3"):
        host.run([image])


def test_failure_at_module_level(out_of_process, image):
    host = out_of_process(make_script(head="1 / 0"))
    with pytest.raises(nis.ChildDied, match="ZeroDivisionError"):
        host.run([image])


def test_script_without_child_main(out_of_process, image):
    script = make_script().replace("limnode.child_main(run, output, build)", "pass")
    with pytest.raises(nis.ChildDied, match="exit code 0"):
        out_of_process(script).run([image])


def test_no_answer_in_time(out_of_process, image):
    host = out_of_process(make_script("import time; time.sleep(60)"), timeout_s=0.5)
    with pytest.raises(nis.ChildHangs, match=r"no answer .* in 0.5 s"):
        host.run([image])


def test_child_that_does_not_end(python, site, image):
    head = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    script = make_script("print('ran', flush=True)", head=head)
    host = OutOfProcessNis(script, python=python, site=site, close_timeout_s=1)
    host.run([image])
    with pytest.raises(nis.ChildHangs, match="did not end"):
        host.close()
    assert "ran" in host.log


def test_error_of_the_abort_callable_leaves_no_stale_answer(out_of_process, image):
    host = out_of_process(make_script("import time; time.sleep(0.4); out[0].data[...] = 1"))
    with pytest.raises(ZeroDivisionError):
        host.run([image], lambda: 1 / 0)
    assert host.pid is None
    assert host.run([image])[0].all()


def test_long_script(out_of_process, image):
    """Longer than a pipe's buffer."""
    script = make_script(head="# µ\n" * 30_000)
    host = out_of_process(script)
    host.run([image])


def test_array_kept_past_its_call_does_no_harm(out_of_process, image):
    run = "kept.append((inp[0].data, out[0].data)); out[0].data[...] = len(kept)"
    host = out_of_process(make_script(run, head="kept = []"))
    for number, size in enumerate((5, 900, 50), 1):
        frame = np.zeros((1, size, size, 1), np.uint8)
        assert host.run([frame])[0].max() == number


def test_venv_launcher_is_no_interpreter_for_nis(site, image):
    if sys.platform != "win32":
        pytest.skip("only Windows has launchers")
    host = OutOfProcessNis(make_script(), python=Path(sys.executable), site=site)
    with host, pytest.raises(nis.ChildDied):
        host.run([image])


@linux
def test_grandchild_inherits_none_of_our_descriptors(out_of_process, image):
    run = """
        import os, subprocess
        listing = subprocess.run(['ls', '-l', '/proc/self/fd'], capture_output=True, text=True)
        print(listing.stdout)
        os.system('ls -l /proc/self/fd')
        """
    host = out_of_process(make_script(run))
    host.run([image])
    host.close()
    assert "memfd" not in host.log
    assert "socket" not in host.log


@linux
def test_nothing_is_left_when_the_host_is_killed(python, site, tmp_path):
    """The child sees its pipe close and ends; memory has no name that could stay."""
    temp = tmp_path / "temp"
    temp.mkdir()
    program = f"""
import sys, time, numpy
from pathlib import Path
from ga3_nodes.standin.out_of_process import OutOfProcessNis
host = OutOfProcessNis({make_script()!r}, python=Path({str(python)!r}), site=Path({str(site)!r}))
host.run([numpy.zeros((1, 512, 512, 1), numpy.uint8)])
print(host.pid, flush=True)
time.sleep(60)
"""
    root = Path(nis.__file__).parents[2]
    environment = {**os.environ, "TMPDIR": str(temp), "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as host:
        child = Path("/proc", host.stdout.readline().decode().strip())
        for process in (child, Path("/proc", str(host.pid))):
            maps = (process / "maps").read_text()
            assert "memfd:ga3-standin" in maps
            assert "/dev/shm" not in maps
        host.kill()
    wait_until(lambda: not child.exists())
    assert list(temp.iterdir()) == []


@linux
def test_nothing_is_left_open_after_close(python, site, image):
    def descriptors():
        gc.collect()  # what an earlier test has left to it must not close in mid-test
        return sorted(Path("/proc/self/fd").iterdir())

    before = descriptors()
    script = make_script("import time; time.sleep(0.05 * float(inp[0].data.max()))")
    with OutOfProcessNis(script, python=python, site=site) as host:
        with pytest.raises(nis.Aborted):
            host.run([image], lambda: True)
        host.run([image // 30])
    del host
    assert descriptors() == before
