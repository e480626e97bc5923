"""The support file: it holds what helps, and nothing that is private."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from envmanager import cli, support
from envmanager.data.redaction import Redactor, without_passwords
from envmanager.errors import Cancelled
from envmanager.events import CancelToken, Items
from tests.envmanager.doctor.support import complete, only

NAME, HOME = "jdoe", "Jane Doe"


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Be somebody with a name and a home folder of her own; return that folder."""
    home = tmp_path / HOME
    home.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    for name in ("USER", "USERNAME", "LOGNAME"):
        monkeypatch.setenv(name, NAME)
    return home


@pytest.fixture
def used(data, user):
    """Return a data folder as it is after some use, full of what is private."""
    complete(data)
    address = "https://bob:pa55@w0rd@mirror.lab/simple"
    text = f'offline = true\nindex_url = "{address}"\ncertificates = "{user / "ca.pem"}"\n'
    data.settings.write_text(text, "utf-8")
    logs = data.root / "logs"
    logs.mkdir()
    lines = [
        f"reading {user / 'images' / 'cells.nd2'}",
        f"user {NAME} in C:\\Users\\{NAME}\\AppData and /home/anna/x",
        "GET https://TOKEN123@mirror.lab/a?sig=ABC&x=1",
        f"fetch {address}",
    ]
    (logs / "app.log").write_text("\n".join(lines) + "\n", "utf-8")
    (logs / "worker-echo.log").write_bytes(b"0123456789\n" * 200_000 + b"the end\n")
    (data.root / "weights" / "echo").mkdir(parents=True)
    (data.root / "weights" / "echo" / "net.pth").write_bytes(b"weights" * 100)
    (logs / "picture.tif").write_bytes(b"II*\0")
    return data


def texts(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


@pytest.mark.windows
def test_it_holds_what_helps(used, tmp_path, monkeypatch):
    only(monkeypatch, "settings", "config", "module:echo")
    events = []
    made = support.make(used, tmp_path / "out" / "a.zip", events.append)
    found = texts(made.path)
    assert set(made.names) == set(found)
    assert made.size == made.path.stat().st_size
    checks = {check["id"]: check for check in json.loads(found["doctor.json"])["checks"]}
    assert checks.keys() == {"settings", "config", "module:echo"}
    modules = {module["name"]: module for module in json.loads(found["list.json"])["modules"]}
    assert modules["echo"]["installed_version"] == "1.0.0"
    assert json.loads(found["envs/echo/1/manifest.json"])["backend"] == "cpu"
    assert "echo" in json.loads(found["config.json"])["modules"]
    assert {"packages", "hardware", "python"} <= json.loads(found["versions.json"]).keys()
    assert "offline = true" in found["settings.toml"]
    done = [event.done for event in events if isinstance(event, Items)]
    assert done == sorted(done)
    assert done[-1] == len(found)


def test_nothing_private_is_in_it(used, user, tmp_path, monkeypatch):
    only(monkeypatch, "settings")
    found = texts(support.make(used, tmp_path / "a.zip").path)
    everything = "\n".join([*found, *found.values()])
    for private in (NAME, HOME, str(user), "pa55", "w0rd", "TOKEN123", "ABC", "/home/anna"):
        assert private not in everything, private
    assert "https://bob:***@mirror.lab/simple" in found["settings.toml"]
    assert f"reading <home>{os.sep}images{os.sep}cells.nd2" in found["logs/app.log"]
    assert "sig=***&x=1" in found["logs/app.log"]
    assert not [name for name in found if Path(name).suffix in (".tif", ".pth")]


def test_long_logs_are_cut_from_their_beginning(used, tmp_path, monkeypatch):
    only(monkeypatch, "settings")
    log = texts(support.make(used, tmp_path / "a.zip").path)["logs/worker-echo.log"]
    first, second, *_ = log.splitlines()
    assert first.endswith("are left out]")
    assert second == "0123456789"
    assert log.endswith("the end\n")
    assert len(log) < 1_100_000


def test_what_is_broken_is_told_and_hides_nothing_else(used, tmp_path, monkeypatch):
    only(monkeypatch, "settings", "config")
    used.config.write_text("{", "utf-8")
    used.settings.write_text("offline = ", "utf-8")
    found = texts(support.make(used, tmp_path / "a.zip").path)
    assert found["config.json"] == "{"
    assert found["settings.toml"] == "offline = "
    statuses = {check["status"] for check in json.loads(found["doctor.json"])["checks"]}
    assert statuses == {"error"}
    assert "config.json" in found["list.json"]
    assert "logs/app.log" in found


def test_a_cancel_leaves_no_file(used, tmp_path, monkeypatch):
    only(monkeypatch, "settings")
    token = CancelToken()
    target = tmp_path / "a.zip"
    target.write_bytes(b"the old one")

    def report(event):
        if isinstance(event, Items) and event.done > 2:
            token.cancel()

    with pytest.raises(Cancelled):
        support.make(used, target, report, token)
    assert target.read_bytes() == b"the old one"
    assert [path.name for path in tmp_path.glob("a.zip*")] == ["a.zip"]


def test_the_command_line_makes_one_in_a_folder(data_folder, tmp_path, monkeypatch, capsys):
    only(monkeypatch, "settings")
    assert cli.main(["support", "-o", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["data"]
    assert Path(told["path"]).parent == tmp_path
    assert set(told["names"]) == set(texts(Path(told["path"])))
    assert cli.main(["support", "-o", str(tmp_path / "b.zip")]) == 0
    assert "doctor.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"C:\Users\Jane Doe\AppData\x", r"<home>\AppData\x"),
        (r'"C:\\Users\\Jane Doe\\AppData"', r'"<home>\\AppData"'),
        ("c:/users/JANE DOE/x", "<home>/x"),
        ("file:///C:/Users/Jane%20Doe", "file:///C:/Users/<user>"),
        (r"C:\Users\Jane Doe2\x", r"C:\Users\<user>\x"),
        (r"D:\Home\Mary Ann\x y", r"D:\Home\<user>\x y"),
        (r"LAB\jdoe ran jdoes", r"LAB\<user> ran jdoes"),
        (r"C:\Users\JANEDO~1\Temp", r"C:\Users\<user>\Temp"),
        ("in /home/anna.", "in /home/<user>"),
        ("no users / home here", "no users / home here"),
    ],
)
def test_names_and_homes_are_blanked(text, expected):
    assert Redactor(("jdoe", "Jane Doe"), Path("C:\\Users\\Jane Doe"))(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://u:p@h/x", "https://u:***@h/x"),
        ("https://u:p@q@h/x", "https://u:***@h/x"),
        ("http://h:8080/x@y", "http://h:8080/x@y"),
        ("http://u@h", "http://u@h"),
        ("two: http://a:b@c d:e@f", "two: http://a:***@c d:e@f"),
    ],
)
def test_passwords_in_addresses_are_blanked(text, expected):
    assert without_passwords(text) == expected
