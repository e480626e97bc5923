"""Running the checklist, or a few of its checks, on a data folder."""

from __future__ import annotations

import json

from envmanager import doctor
from envmanager.data import config
from envmanager.data.settings import Settings
from envmanager.doctor import checklist
from ga3_nodes import home
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

OFFLINE = Settings(offline=True)
DEAD = 99_999_999  # no process has this id
# What a build machine or a Wine prefix may lack without being broken.
ABOUT_THE_COMPUTER = {"vc_runtime", "long_paths", "gpu", "disk_space", "data_place"}


def run(data, settings=OFFLINE):
    return {check.id: check for check in doctor.checks(data, settings)}


def fix(data):
    found = doctor.checks(data, OFFLINE)
    return {check.id: check for check in doctor.fix(data, OFFLINE, found)}


def only(monkeypatch, *names):
    """Leave a few checks of the list, so that a test is quick."""
    whole = checklist._examinations

    def some(patient):
        return ((name, examine) for name, examine in whole(patient) if name in names)

    monkeypatch.setattr(checklist, "_examinations", some)


def complete(data, number=1):
    """Publish the echo module with a manifest, as an install does, by the engine."""
    folder = publish(data.root, ECHO_DECLARATION, ECHO_WORKER, generation=number)
    entry = home.read_config(data.root)["modules"]["echo"]
    manifest = {"entry": entry, "disk": {"own": 1, "shared": 0}, "backend": "cpu"}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    config.change(data, lambda modules: None)
    return folder


def bad(found):
    return {
        name: check
        for name, check in found.items()
        if check.status != "ok" and name not in ABOUT_THE_COMPUTER
    }
