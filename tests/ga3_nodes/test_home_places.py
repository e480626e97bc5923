"""Where data folders are looked for, and what ``location.json`` may say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ga3_nodes import home
from ga3_nodes.errors import ConfigError
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

pytestmark = pytest.mark.windows


@pytest.fixture
def place(data_folder, tmp_path, monkeypatch) -> Path:
    """Look where a user without variables looks, and into a machine's place of this test."""
    monkeypatch.delenv("GA3ENV_HOME")
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "nutzer"))
    monkeypatch.setattr(home, "machine_root", lambda: tmp_path / "alle")
    folder = home.user_root()
    folder.mkdir(parents=True)
    return folder


def _lead(place: Path, root: object) -> None:
    (place / home.LOCATION).write_text(json.dumps({"schema": 1, "root": root}), "utf-8")


def test_the_variables_choose_the_places(place, tmp_path, monkeypatch):
    assert home.places() == [place, tmp_path / "alle"]
    monkeypatch.setenv("GA3ENV_MACHINE_WIDE", "0")
    assert home.places() == [place, tmp_path / "alle"]
    monkeypatch.setenv("GA3ENV_MACHINE_WIDE", "1")
    assert home.places() == [tmp_path / "alle"]
    monkeypatch.setenv("GA3ENV_HOME", str(tmp_path / "meins"))
    assert home.places() == [tmp_path / "meins"]


def test_a_place_leads_on_to_its_data_folder(place, tmp_path):
    assert home.located(place) == place
    assert home.located(tmp_path / "nowhere") == tmp_path / "nowhere"
    (tmp_path / "daten é").mkdir()
    _lead(place, str(tmp_path / "daten é"))
    assert home.located(place) == tmp_path / "daten é"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"root": 3}', '{"root": "data"}', "\xff"])
def test_a_damaged_location_is_told(place, text):
    (place / home.LOCATION).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        home.located(place)
    assert caught.value.code == "location_damaged"
    assert str(place / home.LOCATION) in caught.value.message


def test_a_disk_that_is_not_connected_is_told(place, tmp_path):
    _lead(place, str(tmp_path / "usb"))
    with pytest.raises(ConfigError) as caught:
        home.located(place)
    assert caught.value.code == "root_missing"
    with pytest.raises(ConfigError, match="usb"):
        home.published("echo")


def test_the_machines_modules_work_while_the_users_disk_is_away(place, tmp_path):
    _lead(place, str(tmp_path / "usb"))
    publish(tmp_path / "alle", ECHO_DECLARATION, ECHO_WORKER)
    assert home.published("echo").root == tmp_path / "alle"


def test_modules_of_the_user_and_of_the_machine_are_merged(place, tmp_path):
    publish(tmp_path / "alle", ECHO_DECLARATION, ECHO_WORKER)
    publish(tmp_path / "alle", {**ECHO_DECLARATION, "name": "other"}, ECHO_WORKER)
    publish(place, ECHO_DECLARATION, ECHO_WORKER)
    assert home.published("echo").root == place
    assert home.published("other").root == tmp_path / "alle"
