"""Settings: typed, checked, and changed without losing the user's comments."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import pytest

from envmanager import cli
from envmanager.data import settings, values
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments.lifecycle import Environments
from envmanager.errors import SettingsError
from ga3_nodes import home

pytestmark = pytest.mark.windows
HERE = str(Path(__file__).resolve().parent)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "settings.toml"


def test_no_file_means_the_defaults(path):
    assert settings.load(path) == Settings()


def test_every_setting_takes_its_default_and_says_what_it_is(path):
    for setting in fields(Settings):
        assert settings.help_text(setting.name)
        kind = settings.kind(setting.name)
        assert kind.check(setting.default) == setting.default
        assert kind.takes


def test_a_change_is_kept_with_the_users_comments(path, tmp_path):
    path.write_text("# our lab's mirror\noffline = true  # no network\n", "utf-8")
    places = [str(tmp_path / "a b"), str(tmp_path / "é")]
    for place in places:
        Path(place).mkdir()
    changed = settings.change(path, "find_links", places)
    assert changed == Settings(offline=True, find_links=tuple(places))
    text = path.read_text("utf-8")
    assert "# our lab's mirror" in text
    assert "# no network" in text
    assert settings.change(path, "offline", []) == Settings(find_links=tuple(places))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("offline = ", "cannot be read"),
        ("offline = true\noffline = false", "cannot be read"),
        ("\0\1\2", "cannot be read"),
        ("ofline = true", "Did you mean offline?"),
        ("[network]\nproxy = 'http://p:1'", "there is no setting 'network'"),
        ('offline = "yes"', "true or false"),
        ("find_links = 'x'", "a list"),
        ("find_links = [1]", "a list"),
        ("find_links = ['wheels']", "full path of a folder"),
        ("find_links = ['']", "full path of a folder"),
        ("generations_kept = -1", "whole number from 0 to 50"),
        ("generations_kept = 51", "whole number from 0 to 50"),
        ("generations_kept = true", "whole number"),
        ("idle_timeout_s = 604801", "0 to 604800 seconds"),
        ("idle_timeout_s = 1.5", "whole number"),
        ("python = 3.11", "such as 3.12"),
        ("python = 'new'", "such as 3.12"),
        ("python_source = 'mine'", "one of any, system, managed"),
        ("index_url = 'mirror.lab'", "begins with http:// or https:// or file://"),
        ("index_url = 'ftp://mirror.lab/simple'", "begins with http://"),
        ("index_url = 'http://'", "begins with http://"),
        ("index_url = 'http://host:port/x'", "begins with http://"),
        ("index_url = 'http://a b/'", "begins with http://"),
        ("proxy = 'proxy.lab:8080'", "begins with http://"),
        ("proxy = 'file:///etc'", "begins with http://"),
        ("certificates = 'ca.pem'", "full path of a file of certificates"),
        ("cache_dir = '../cache'", "full path of a folder"),
        ("constraints = ['torch=2']", "such as torch==2.13.0"),
        ("constraints = ['torch @ http://x/y.whl']", "such as torch==2.13.0"),
    ],
)
def test_nonsense_is_named_and_not_overwritten(path, text, message):
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        settings.load(path)
    assert message in str(caught.value)
    assert path.name in str(caught.value)
    with pytest.raises(SettingsError):
        settings.change(path, "offline", ["true"])
    assert path.read_text("utf-8") == text


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [
        ("index_url", ["https://user:secret@mirror.lab:8443/simple"], None),
        ("index_url", [Path(HERE).as_uri()], None),
        ("extra_index_urls", ["http://a/", "http://b/"], ("http://a/", "http://b/")),
        ("find_links", [HERE, "https://x.lab/wheels"], (HERE, "https://x.lab/wheels")),
        ("constraints", ["torch==2.13.0", "numpy >=1.26,<3"], ("torch==2.13.0", "numpy >=1.26,<3")),
        ("torch_index", [HERE], None),
        ("offline", ["TRUE"], True),
        ("proxy", ["socks5://[::1]:1080"], None),
        ("certificates", ["system"], None),
        ("python", ["3.12"], None),
        ("python", [">=3.10,<3.13"], None),
        ("python", ["cpython@3.12.1"], None),
        ("python", [str(Path(__file__).resolve())], None),
        ("python_source", ["managed"], None),
        ("cache_dir", [str(Path(HERE) / "not yet there")], None),
        ("generations_kept", ["0"], 0),
        ("idle_timeout_s", ["3600"], 3600),
    ],
)
def test_what_fits_is_taken_and_taken_back(path, name, words, value):
    expected = words[0] if value is None else value
    assert settings.change(path, name, words) == replace(Settings(), **{name: expected})
    assert settings.load(path) == replace(Settings(), **{name: expected})
    assert settings.change(path, name, []) == Settings()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ofline", ["true"]),
        ("ofline", []),
        ("offline", ["maybe"]),
        ("generations_kept", ["many"]),
        ("generations_kept", ["٣"]),
        ("find_links", [str(Path(HERE) / "not there")]),
        ("torch_index", ["file:///not/there"]),
        ("certificates", [str(Path(HERE) / "not there.pem")]),
        ("certificates", [str(Path(__file__).resolve().parents[2] / "LICENSE")]),
        ("python", [str(Path(HERE) / "python9")]),
    ],
)
def test_a_wrong_change_is_refused(path, name, words):
    with pytest.raises(SettingsError) as caught:
        settings.change(path, name, words)
    assert caught.value.hint
    assert not path.exists()


def test_a_path_from_the_current_folder_is_written_out(path, tmp_path, monkeypatch):
    (tmp_path / "räder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert settings.change(path, "find_links", ["räder"]).find_links == (str(tmp_path / "räder"),)
    assert settings.change(path, "torch_index", ["räder"]).torch_index == str(tmp_path / "räder")


def test_a_missing_folder_is_no_damage_when_the_settings_are_read(path, tmp_path):
    gone = tmp_path / "usb stick"
    path.write_text(f"find_links = ['{gone}']", "utf-8")
    assert settings.load(path).find_links == (str(gone),)


def test_a_file_address_names_a_place_of_this_computer(tmp_path):
    place = tmp_path / "a b é"
    assert values.local_place(place.as_uri()) == place
    assert values.local_place(str(place)) == place
    assert values.local_place("https://host/a") is None


def test_the_cache_lies_where_the_variable_or_the_setting_says(data_folder, tmp_path, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    data = DataFolder(data_folder)
    assert data.uv_cache == data_folder / "uv-cache"
    settings.change(data.settings, "cache_dir", [str(tmp_path / "schnell é")])
    assert data.uv_cache == tmp_path / "schnell é"
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "mine"))
    assert data.uv_cache == tmp_path / "mine"


def test_two_that_change_settings_at_once_lose_nothing(path):
    def change(name, word):
        for _ in range(10):
            settings.change(path, name, [])
            settings.change(path, name, [word])

    both = [("offline", "true"), ("generations_kept", "5")]
    with ThreadPoolExecutor(2) as pool:
        for work in [pool.submit(change, *words) for words in both]:
            work.result()
    assert settings.load(path) == Settings(offline=True, generations_kept=5)


@pytest.mark.parametrize("text", ["cache_dir = 3", "cache_dir = 'x'", "=", "\0"])
def test_broken_settings_break_only_what_needs_them(data_folder, monkeypatch, capsys, text):
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    data = DataFolder(data_folder)
    data.settings.write_text(text, "utf-8")
    assert data.uv_cache == data_folder / "uv-cache"
    assert cli.main(["list"]) == 0
    assert cli.main(["status", "classic"]) == 0
    assert cli.main(["workers"]) == 0
    capsys.readouterr()
    assert cli.main(["install", "classic"]) == 1
    told = capsys.readouterr().err
    assert "settings.toml" in told
    assert "hint:" in told


def test_a_password_is_not_shown(data_folder, capsys):
    address = "https://user:secret@mirror.lab/simple"
    assert cli.main(["settings", "index_url", address]) == 0
    told = capsys.readouterr()
    assert "secret" not in told.out + told.err
    assert settings.load(data_folder / "settings.toml").index_url == address


def test_the_idle_time_is_in_force_at_once_and_taken_back(echo, data_folder, capsys):
    folder = home.published("echo").folder
    (folder / "module.toml").write_text(
        'schema = 1\nname = "echo"\ntitle = "Echo"\nversion = "1.0.0"\nsummary = "x"\n'
        '[environment]\nimports = ["numpy"]\n[worker]\nidle_timeout_s = 77\n'
        '[functions.segment]\ntitle = "S"\n[functions.segment.inputs.image]\naxes = ["yx"]\n'
        '[functions.segment.outputs.labels]\nkind = "labels"\n',
        "utf-8",
    )
    (folder / "pyproject.toml").write_text("", "utf-8")
    assert cli.main(["settings", "idle_timeout_s", "5"]) == 0
    assert home.published("echo").idle_timeout_s == 5
    assert cli.main(["settings", "idle_timeout_s", "--unset"]) == 0
    assert home.published("echo").idle_timeout_s == 77


@pytest.mark.slow
def test_an_install_takes_the_idle_time(environments, tiny):
    chosen = Environments(environments.data, Settings(idle_timeout_s=9))
    chosen.install("tiny")
    assert home.published("tiny").idle_timeout_s == 9
