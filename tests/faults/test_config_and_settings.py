"""Files that the user or a crash has spoilt: told as such, never overwritten, and easy to mend."""

from __future__ import annotations

import json

import pytest

from ga3_nodes import client
from ga3_nodes.errors import ConfigError
from tests.faults import mini

pytestmark = pytest.mark.slow
MODULE = mini.NAME
CHANGES = ("install", "rollback", "remove")


def _newer(text: bytes, **changed: object) -> bytes:
    return json.dumps({**json.loads(text), "schema": 99, **changed}).encode()


SPOILT = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: b"",
    "of zeros": lambda text: b"\0" * len(text),
    "of a newer schema": _newer,
    "of a newer schema, unlike ours": lambda text: _newer(text, modules=["other"]),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_config_is_reported_and_left_alone(world, bench, tried, how):
    one = bench(world.updated)
    good = one.data.config.read_bytes()
    bad = SPOILT[how](good)
    one.data.config.write_bytes(bad)
    tried(f"config.json {how}")
    code = "config_too_new" if "newer" in how else ConfigError.code
    for command in CHANGES:
        assert one.fail(command, MODULE)["code"] == code, command
        assert one.data.config.read_bytes() == bad, command
    with pytest.raises(ConfigError):
        client.call(MODULE, "segment", {"image": mini.IMAGE})
    checks = one.run("doctor")["checks"]
    assert any(check["status"] == "error" and "config.json" in check["message"] for check in checks)
    if "newer" in how:
        one.data.config.write_bytes(good)
    else:  # the hint of the error
        one.data.config.rename(one.root / "config.old")
        assert not one.run("install", MODULE)["new"], "the environments are kept"
        (one.root / "config.old").unlink()
    assert one.works() == 2
    one.is_green()


@pytest.mark.parametrize(
    "text",
    [
        "this is no TOML",
        "no_such_setting = 1\n",
        "generations_kept = -1\n",
        "find_links = 'a text, not a list'\n",
        "\x00\x01\x02",
    ],
)
def test_nonsense_in_the_settings(world, bench, tried, text):
    one = bench(world.installed)
    one.change_module(2)
    good = one.data.settings.read_bytes()
    one.data.settings.write_text(text, "utf-8")
    before = one.shape()
    tried("nonsense in settings.toml")
    for command in ("install", "repair"):
        assert one.fail(command, MODULE)["code"] == "settings_invalid", command
    assert one.data.settings.read_text("utf-8") == text
    assert one.shape() <= before
    assert one.works() == 1, "a node needs no settings"
    checks = one.run("doctor")["checks"]
    assert any(c["status"] == "error" and "settings.toml" in c["message"] for c in checks)
    one.data.settings.write_bytes(good)
    assert one.run("update", MODULE)["new"]
    assert one.works() == 2
    one.is_green()


@pytest.mark.parametrize("harm", ["cut", "gone"])
@pytest.mark.parametrize("published", [True, False])
def test_a_manifest_is_lost(world, bench, tried, harm, published):
    """A generation without its manifest is not complete: it is built anew or swept."""
    one = bench(world.updated)
    manifest = one.root / "envs" / MODULE / ("2" if published else "1") / "manifest.json"
    text = manifest.read_bytes()
    manifest.unlink()
    if harm == "cut":
        manifest.write_bytes(text[:100])
    tried(f"manifest.json {harm}")
    assert one.works() == 2
    if published:
        assert one.run("repair", MODULE)["new"]
        assert one.run("verify", MODULE)["ok"]
    else:
        assert one.fail("rollback", MODULE)["code"] == "no_generation"
        one.run("install", MODULE)
        assert not manifest.exists()
    assert one.works() == 2
    one.is_green()


def test_leftovers_of_everything(world, bench, tried):
    """What many killed commands may leave is all gone after the next one."""
    one = bench(world.updated)
    usual = one.shape()
    module = one.root / "envs" / MODULE
    (module / "7" / ".venv").mkdir(parents=True)
    (module / "7" / "worker.py").write_text("half a")
    (one.root / "trash" / "3-0123456789ab").mkdir(parents=True)
    (module.with_name(f"{MODULE}.lock")).write_text("{}")
    (one.root / "config.lock").write_text("")
    (one.root / "config.json.999999999.tmp").write_text("{")
    (one.root / "uv-cache" / ".tmpAbCdEf" / "torch").mkdir(parents=True)
    tried("leftovers of all kinds")
    one.change_module(3)
    assert one.run("update", MODULE)["new"]
    assert one.works() == 3
    one.is_green()
    one.as_clean_as(usual)


def test_a_file_of_the_client_is_lost(world, bench, tried):
    """Node scripts import it from the data folder; doctor and the next change see to it."""
    one = bench(world.installed)
    lost = next(one.data.clients.glob("*/ga3_nodes/client.py"))
    lost.unlink()
    tried("a file of the client is lost")
    one.change_module(2)
    one.run("update", MODULE)
    assert one.works() == 2
    folder = json.loads(one.data.config.read_bytes())["client_dir"]
    assert (one.root / folder / "ga3_nodes" / "client.py").is_file()
    one.is_green()
