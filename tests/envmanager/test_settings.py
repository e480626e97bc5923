"""Settings: typed, checked, and changed without losing the user's comments."""

from __future__ import annotations

import pytest

from envmanager import settings
from envmanager.errors import SettingsError
from envmanager.settings import Settings

pytestmark = pytest.mark.windows


@pytest.fixture
def path(tmp_path):
    return tmp_path / "settings.toml"


def test_no_file_means_the_defaults(path):
    assert settings.load(path) == Settings()


def test_a_change_is_kept_with_the_users_comments(path):
    path.write_text("# our lab's mirror\noffline = true  # no network\n", "utf-8")
    changed = settings.change(path, "find_links", ["/a b", "é"])
    assert changed == Settings(offline=True, find_links=("/a b", "é"))
    text = path.read_text("utf-8")
    assert "# our lab's mirror" in text
    assert "# no network" in text
    assert settings.change(path, "offline", []) == Settings(find_links=("/a b", "é"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("offline = ", "cannot be read"),
        ("ofline = true", "ofline"),
        ('offline = "yes"', "true or false"),
        ("find_links = 'x'", "list of texts"),
        ("find_links = [1]", "list of texts"),
        ("generations_kept = -1", "whole number"),
        ("generations_kept = true", "whole number"),
        ("python = 3.11", "a text"),
    ],
)
def test_nonsense_is_named_and_not_overwritten(path, text, message):
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        settings.load(path)
    assert message in str(caught.value)
    with pytest.raises(SettingsError):
        settings.change(path, "offline", ["true"])
    assert path.read_text("utf-8") == text


@pytest.mark.parametrize(
    ("name", "words"),
    [("ofline", ["true"]), ("offline", ["maybe"]), ("generations_kept", ["many"])],
)
def test_a_wrong_change_is_refused(path, name, words):
    with pytest.raises(SettingsError):
        settings.change(path, name, words)
    assert not path.exists()
