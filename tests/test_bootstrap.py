"""`run`, `run.cmd` and external/bootstrap.py, run for real in a copy of what they need.

Most tests need no network: the registry is a folder of wheels made here, uv's from the project's.
"""

import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
WINDOWS = sys.platform == "win32"
BASE_PYTHON = sys._base_executable
UV_NAME = "uv.exe" if WINDOWS else "uv"
UV = Path(os.environ.get("GA3ENV_UV") or PROJECT / "external" / "UV" / UV_NAME)
VERSION = tomllib.loads((PROJECT / "external/tools.toml").read_text("utf-8"))["uv"]["version"]
PLATFORMS = {"windows-x86_64", "linux-x86_64", "linux-aarch64", "macos-arm64", "macos-x86_64"}
MAIN = """
import json, os, sys, tiny
print(json.dumps({"program": __spec__.name, "args": sys.argv[1:], "cwd": os.getcwd(),
                  "tiny": tiny.__file__, "path": sys.path, "env": dict(os.environ)}))
sys.exit(7)
"""
FAKE_PYTEST = (
    "import json, os, sys\nprint(json.dumps({'args': sys.argv[1:], 'cwd': os.getcwd()}))\n"
)
posix_only = pytest.mark.skipif(WINDOWS, reason="POSIX: bash, signals, links")


def make_wheel(folder, name, version, files):
    """Make a wheel; give its sha256."""
    info = f"{name}-{version}.dist-info"
    files = dict(files)
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{path},,\n" for path in files)
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, data in files.items():
            archive.writestr(inner, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """Give a folder with wheels, and the sha256 of each."""
    if not UV.is_file():
        pytest.skip(f"there is no {UV}: start ./run once")
    folder = tmp_path_factory.mktemp("wheels")
    binary = UV.read_bytes()
    hashes = {
        "tiny": make_wheel(folder, "tiny", "1.0", {"tiny/__init__.py": "", "tiny/a.py": ""}),
        "tiny2": make_wheel(folder, "tiny", "2.0", {"tiny/__init__.py": "two = 2"}),
        "pytest": make_wheel(folder, "pytest", "1.0", {"pytest.py": FAKE_PYTEST}),
        "uv": make_wheel(folder, "uv", VERSION, {f"uv-{VERSION}.data/scripts/{UV_NAME}": binary}),
        "binary": hashlib.sha256(binary).hexdigest(),
    }
    return folder, hashes


def end(process):
    """End a start and all below it; the shell alone would leave the rest."""
    if WINDOWS:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class Copy:
    """A small copy of the project, an empty home and a registry without a network."""

    def __init__(self, root, wheels, hashes):
        self.root, self.wheels, self.hashes = root, wheels, hashes
        self.home = root.parent / "home"
        self.home.mkdir()
        (root / "external" / "UV").mkdir(parents=True)
        for name in ("run", "run.cmd", "external/bootstrap.py"):
            shutil.copy(PROJECT / name, root / name)
        self.pin(hashes["uv"], hashes["binary"])
        self.lock("app", tiny="1.0")
        self.lock("test", tiny="1.0", pytest="1.0")
        for package in ("app", "envmanager"):
            (root / package).mkdir()
            (root / package / "__init__.py").touch()
            (root / package / "__main__.py").write_text(MAIN)
        (root / "app" / "screenshots.py").write_text(MAIN)
        self.env = self.environment()

    def environment(self):
        ours = ("PYTHON", "GA3ENV_", "PIP_", "UV_", "XDG_")
        env = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        return env | {
            "HOME": str(self.home),
            "GA3ENV_PYTHON": BASE_PYTHON,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "UV_NO_CONFIG": "1",
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.wheels),
            "UV_CACHE_DIR": str(self.home / "cache"),
        }

    def pin(self, wheel, binary):
        table = f'wheel_sha256 = ["{wheel}"]\nbinary_sha256 = ["{binary}"]\n'
        text = f'[uv]\nversion = "{VERSION}"\n'
        text += "".join(f"[uv.{platform}]\n{table}" for platform in sorted(PLATFORMS))
        (self.root / "external" / "tools.toml").write_text(text)

    def lock(self, level, *, wrong=False, **packages):
        text = ""
        for name, version in packages.items():
            value = "0" * 64 if wrong else self.hashes["tiny2" if version == "2.0" else name]
            text += f"{name}=={version} \\\n    --hash=sha256:{value}\n"
        name = "requirements.lock" if level == "app" else "requirements-test.lock"
        (self.root / name).write_text(text)

    def give_uv(self):
        shutil.copy(UV, self.root / "external" / "UV" / UV_NAME)

    def command(self, *args):
        if WINDOWS:  # what a console does; the outer quotes are cmd's own
            return f'cmd /s /c "{subprocess.list2cmdline([str(self.root / "run.cmd"), *args])}"'
        return [str(self.root / "run"), *args]

    def start(self, *args, cwd=None, command=None, **env):
        return subprocess.Popen(
            command or self.command(*args),
            cwd=cwd or self.home,
            env={k: v for k, v in (self.env | env).items() if v is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, *args, **options):
        process = self.start(*args, **options)
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            end(process)
            raise
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def works(self, *args, **options):
        """Start the app, and give what it saw and what the set-up said."""
        done = self.run(*args, **options)
        assert done.returncode == 7, done.stderr
        return json.loads(done.stdout), done.stderr

    def fails(self, code, *args, **options):
        """Start what must fail, with and without --json; give the message."""
        done = self.run(*args, "--json", **options)
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) == (1, code), done.stderr
        assert done.stderr.endswith(f"error: {error['message']}\nhint: {error['hint']}\n")
        plain = self.run(*args, **options)
        assert (plain.returncode, plain.stdout) == (1, "")
        return error["message"]

    def site_packages(self):
        return next(self.root.glob(".venv/[Ll]ib/**/site-packages"))

    def left(self):
        return sorted(p.name for p in (self.root / "external" / "UV").iterdir())


@pytest.fixture
def copy(tmp_path, registry):
    root = tmp_path / "Übung (mit) Leerzeichen"
    root.mkdir()
    return Copy(root, *registry)


@pytest.fixture
def ready(copy):
    copy.give_uv()
    copy.works()
    return copy


@pytest.mark.windows
def test_fresh_copy_sets_itself_up_then_is_silent(copy):
    odd = ["a b", 'say "x"', "é", "", "*", "--flag=1 2"]
    seen, said = copy.works(*odd)
    assert seen["args"] == odd
    assert Path(seen["cwd"]) == copy.home
    assert Path(seen["tiny"]).is_relative_to(copy.root / ".venv")
    assert f"Getting uv {VERSION} ..." in said
    assert "Setting up the app (1 package) ..." in said
    assert copy.left() == [".lock", UV_NAME]

    seen, said = copy.works("x")
    assert (seen["args"], said) == (["x"], "")


@pytest.mark.windows
@pytest.mark.parametrize(
    ("words", "program", "left"),
    [
        ((), "app.__main__", []),
        (("app", "a.tif"), "app.__main__", ["a.tif"]),
        (("screenshots", "out"), "app.screenshots", ["out"]),
        (("list",), "envmanager.__main__", ["list"]),
    ],
)
def test_the_first_word_says_which_program(ready, words, program, left):
    seen, _ = ready.works(*words)
    assert (seen["program"], seen["args"]) == (program, left)


@pytest.mark.windows
def test_wheels_that_a_release_carries_are_taken_instead_of_an_index(copy):
    copy.give_uv()
    shutil.copytree(copy.wheels, copy.root / "wheels")
    nowhere = {"UV_NO_INDEX": None, "UV_FIND_LINKS": None, "UV_INDEX_URL": "http://127.0.0.1:9/"}
    done = copy.run("set-up", **nowhere)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Setting up the app (1 package) ..." in done.stderr
    copy.works(**nowhere)


def test_a_copy_without_the_folder_builds_no_releases(ready):
    ready.fails("no_release_tools", "build-windows")


def test_what_nis_and_conda_set_does_not_matter(ready, tmp_path):
    (tmp_path / "poison").mkdir()
    for name in ("json", "encodings", "tiny", "envmanager"):
        (tmp_path / "poison" / f"{name}.py").write_text("raise SystemExit('poisoned')")
    poison = str(tmp_path / "poison")
    names = {"PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX"}
    shutil.rmtree(ready.root / ".venv")
    env = dict.fromkeys(names, poison)
    for _ in range(2):  # while it is set up, and after
        seen, _ = ready.works(cwd=tmp_path / "poison", MINE="1", **env)
        assert not names & set(seen["env"])
        assert seen["env"]["MINE"] == "1"
        assert not {poison, ""} & set(seen["path"])


@posix_only
def test_start_through_a_link_and_by_relative_paths(ready, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(os.path.relpath(ready.root / "run", tmp_path))
    assert ready.works(command=[str(link)])[1] == ""
    assert ready.works(command=["bash", "run"], cwd=ready.root)[1] == ""
    assert ready.works(command=["./run"], cwd=ready.root)[1] == ""


@pytest.mark.windows
def test_python_of_last_time_is_found_without_a_search(ready, tmp_path):
    kept = os.environ["PATH"] if WINDOWS else str(tmp_path)
    command = None if WINDOWS else [shutil.which("bash"), str(ready.root / "run")]
    assert ready.works(GA3ENV_PYTHON=None, PATH=kept, command=command)[1] == ""


@pytest.mark.windows
def test_no_python(copy, tmp_path):
    path = os.environ["SYSTEMROOT"] + r"\system32" if WINDOWS else str(tmp_path)
    command = None if WINDOWS else [shutil.which("bash"), str(copy.root / "run"), "--json"]
    done = copy.run("--json", GA3ENV_PYTHON=None, PATH=path, command=command)
    assert done.returncode == 1
    assert "No 64-bit Python 3.11 or newer was found" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "python_missing"


@pytest.mark.windows
def test_what_is_not_a_python(copy):
    itself = [] if WINDOWS else [copy.root / "run"]  # would start itself without end
    for path in (UV, copy.root / "nowhere", *itself):
        done = copy.run("--json", GA3ENV_PYTHON=str(path))
        assert done.returncode == 1
        assert "GA3ENV_PYTHON is set" in done.stderr
        assert json.loads(done.stdout)["error"]["code"] == "python_unsuitable"


def test_run_cmd_has_windows_line_ends():
    data = (PROJECT / "run.cmd").read_bytes()
    assert data.count(b"\n") == data.count(b"\r\n") > 20


def test_uv_that_lies_there_is_kept_if_it_is_the_right_one(copy):
    copy.give_uv()
    uv = copy.root / "external" / "UV" / UV_NAME
    uv.chmod(0o644)
    assert "Getting uv" not in copy.works()[1]
    uv.write_bytes(b"something else")
    said = copy.works()[1]
    assert "is not the uv" in said
    assert "Setting up" not in said
    assert uv.read_bytes() == UV.read_bytes()


@pytest.mark.parametrize("what", ["wheel", "binary"])
def test_wrong_hash_is_refused_and_leaves_nothing(copy, what):
    good = {"wheel": copy.hashes["uv"], "binary": copy.hashes["binary"]}
    copy.pin(**good | {what: "0" * 64})
    assert "sha256" in copy.fails("hash_mismatch")
    assert copy.left() == [".lock"]
    assert not (copy.root / ".venv").exists()
    copy.pin(**good)
    copy.works()


def test_no_network(copy):
    message = copy.fails("uv_not_fetched", PIP_FIND_LINKS=None)
    assert "No matching distribution found" in message
    proxy = {"PIP_NO_INDEX": None, "PIP_RETRIES": "1", "HTTPS_PROXY": "http://127.0.0.1:9"}
    assert "no connection" in copy.fails("uv_not_fetched", PIP_FIND_LINKS=None, **proxy)
    assert copy.left() == [".lock"]


def test_python_without_pip(copy, tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([UV, "venv", "-q", "--no-project", "--python", BASE_PYTHON, bare], check=True)
    _, said = copy.works(GA3ENV_PYTHON=str(bare / "bin" / "python"))
    assert "has no pip" in said
    assert (copy.root / ".venv/ga3env-python").read_text().strip() == BASE_PYTHON
    assert copy.works()[1] == ""  # a venv's Python and the one below it are the same


def test_unreadable_tools_file(copy):
    (copy.root / "external" / "tools.toml").write_text("uv = ")
    copy.fails("checkout_damaged")


HARM = {
    "a package removed": "rm -r .venv/lib/*/site-packages/tiny",
    "a link to nowhere": "ln -sf /nowhere/python3 .venv/bin/python",
    "a file": "rm -r .venv && touch .venv",
    "foreign": "rm -r .venv && mkdir -p .venv/bin",
    "no pyvenv.cfg": "rm .venv/pyvenv.cfg",
    "a garbled stamp": "printf '\\377 nonsense' > .venv/ga3env-app.stamp",
}


@posix_only
@pytest.mark.parametrize("harm", HARM)
def test_damaged_environment_is_made_anew(ready, harm):
    subprocess.run(["bash", "-c", HARM[harm]], cwd=ready.root, check=True)
    assert "making it anew" in ready.works()[1]
    assert ready.left() == [".lock", UV_NAME]
    assert ready.works()[1] == ""


def test_moved_checkout_is_made_anew(ready):
    ready.root = ready.root.rename(ready.root.with_name("moved"))
    seen, said = ready.works()
    assert "making it anew" in said
    assert Path(seen["tiny"]).is_relative_to(ready.root)


def test_only_a_changed_lock_is_installed_again(ready):
    os.utime(ready.root / "requirements.lock", (1, 1))
    assert ready.works()[1] == ""
    ready.lock("app", tiny="2.0")
    assert ready.works()[1] == "Setting up the app (1 package) ...\n"
    assert "two" in (ready.site_packages() / "tiny" / "__init__.py").read_text()
    assert ready.works()[1] == ""


def test_lock_with_a_wrong_hash(copy):
    copy.give_uv()
    copy.lock("app", tiny="1.0", wrong=True)
    assert "sha256" in copy.fails("hash_mismatch")
    copy.lock("app", tiny="1.0")
    copy.works()


def test_test_command_adds_to_the_app(ready):
    done = ready.run("test", "-k", "a b")
    assert "the app and its tests (2 packages)" in done.stderr
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"args": ["-k", "a b"], "cwd": str(ready.root)}
    assert ready.works()[1] == ""  # the app does not take the tests' packages away
    assert ready.run("test").stderr == ""


def test_failed_install_leaves_the_app_as_it_was(ready):
    ready.lock("test", tiny="1.0", pytest="9.9")
    assert "pytest" in ready.fails("install_failed", "test")
    assert ready.works()[1] == ""


def test_copy_without_tests(ready):
    (ready.root / "requirements-test.lock").unlink()
    ready.fails("no_tests", "test")


MOMENTS = {
    "first moment": "external/UV/.lock",
    "while pip fetches": "external/UV/.setup-*/uv.txt",
    "uv unpacked": "external/UV/.setup-*/uv",
    "uv there": "external/UV/uv",
    "empty environment": ".venv/pyvenv.cfg",
    "half installed": ".venv/lib/*/site-packages/tiny*",
}


@posix_only
@pytest.mark.parametrize("everything", [True, False], ids=["with children", "bootstrap alone"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_succeeds_the_next_time(copy, moment, everything):
    if ".venv" in MOMENTS[moment]:
        copy.give_uv()  # faster
    process = copy.start()
    while not any(copy.root.glob(MOMENTS[moment])) and process.poll() is None:
        time.sleep(0.001)
    if everything:
        end(process)
    else:
        process.kill()
    assert copy.works("x")[0]["args"] == ["x"]
    assert copy.left() == [".lock", "uv"]
    assert copy.works()[1] == ""
    process.communicate()


@posix_only
def test_interrupted_by_the_user(copy):
    process = copy.start("--json")
    while not any(copy.root.glob("external/UV/.setup-*/uv.txt")):
        time.sleep(0.001)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "cancelled"
    assert "Traceback" not in err
    assert copy.left() == [".lock"]


@pytest.mark.windows
def test_two_starts_at_once(copy):
    copy.give_uv()
    processes = [copy.start(str(number)) for number in range(4)]
    outcomes = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [7] * 4, outcomes
    assert sum("Setting up" in err for _, err in outcomes) == 1
    assert all("anew" not in err for _, err in outcomes)


@posix_only
def test_second_start_says_that_it_waits(copy):
    import fcntl

    copy.give_uv()
    with (copy.root / "external/UV/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = copy.start()
        assert "waiting for it" in process.stderr.readline()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 7, err


@pytest.fixture
def bootstrap():
    spec = importlib.util.spec_from_file_location("bootstrap", PROJECT / "external/bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_full_disk(bootstrap, monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr(bootstrap, "start", full)
    assert bootstrap.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "disk_full"
    with pytest.raises(bootstrap.SetupError) as caught:
        bootstrap.refuse(["error: x", "  Caused by: No space left on device"], "x", "That", "")
    assert caught.value.code == "disk_full"


def test_no_pip_and_no_way_to_one(bootstrap, monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "run_tool", lambda *_: (1, ["No module named pip"]))
    with pytest.raises(bootstrap.SetupError) as caught:
        bootstrap.download_uv(bootstrap.Pin(), tmp_path)
    assert caught.value.code == "no_pip"
    assert "external/UV" in caught.value.hint


def test_tools_file_is_complete():
    table = tomllib.loads((PROJECT / "external" / "tools.toml").read_text("utf-8"))["uv"]
    version = table.pop("version")
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert set(table) == PLATFORMS
    hashes = [h for t in table.values() for h in t["wheel_sha256"] + t["binary_sha256"]]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)
    assert len(set(hashes)) == len(hashes)


@pytest.mark.slow
@pytest.mark.windows
def test_real_fetch_with_an_empty_home(copy):
    shutil.copy(PROJECT / "external" / "tools.toml", copy.root / "external" / "tools.toml")
    locked = (PROJECT / "requirements.lock").read_text("utf-8")
    one = re.search(r"^toolz==.*?(?=^\S)", locked, re.M | re.S).group()
    (copy.root / "requirements.lock").write_text(one)
    program = MAIN.replace("sys, tiny", "sys, toolz as tiny")
    (copy.root / "envmanager" / "__main__.py").write_text(program)
    registry = ("PIP_", "UV_")  # the user's instead of ours
    copy.env = {k: v for k, v in copy.env.items() if not k.startswith(registry)}
    copy.env |= {k: v for k, v in os.environ.items() if k.startswith(registry)}
    copy.env["UV_CACHE_DIR"] = str(copy.home / "cache")
    if WINDOWS and "SSL_CERT_FILE" in os.environ:  # of the bench; its pip knows no other
        copy.env["PIP_CERT"] = os.environ["SSL_CERT_FILE"]
    seen, said = copy.works("list")
    assert "toolz" in seen["tiny"]
    assert "Getting uv" in said
    assert copy.works("list")[1] == ""
