"""Where a generated script finds the client, and whose code it does not run."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import sys

import numpy as np
import pytest

from envmanager import nodes
from envmanager.data.paths import SHIPPED_MODULES
from envmanager.modules import catalog
from ga3_nodes import home, owners
from ga3_nodes.standin import nis
from ga3_nodes.standin.embedded import EmbeddedNis
from tests.conftest import end_workers
from tests.support import PROJECT, publish

pytestmark = pytest.mark.windows

WINDOWS = sys.platform == "win32"
WORKER = """
import numpy as np
def segment(image, **parameters):
    return (image > 10).astype(np.int32)
"""
FRAME = np.arange(30, dtype=np.uint16).reshape(1, 5, 6, 1)


@pytest.fixture
def flag(tmp_path):
    """A file that the client of the folder for all accounts makes when its code runs."""
    return tmp_path / "the client ran"


@pytest.fixture
def computer(data_folder, tmp_path, monkeypatch, flag):
    """Let an account without a data folder of its own find one for all accounts; return it."""
    monkeypatch.delenv("GA3ENV_HOME")
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path / "computer"))
    for name in ("LOCALAPPDATA", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "mine"))
    place = home.machine_root()
    _install(place, flag)
    yield place
    end_workers(home.located(place))


def _install(root, flag):
    root.mkdir(parents=True)
    publish(root, catalog.load(SHIPPED_MODULES / "classic").declaration(), WORKER)
    client = root / "client" / "ga3_nodes"
    client.mkdir(parents=True)
    for source in (PROJECT / "ga3_nodes").glob("*.py"):
        shutil.copy(source, client)
    with (client / "__init__.py").open("a", encoding="utf-8") as file:
        file.write(f"\nopen({str(flag)!r}, 'w').close()\n")
    config = json.loads((root / "config.json").read_text("utf-8"))
    (root / "config.json").write_text(json.dumps(config | {"client_dir": "client"}), "utf-8")


@pytest.fixture
def run(out_of_process):
    """Run the script as NIS does, without the way to our packages that these tests have."""
    text = nodes.script(catalog.load(SHIPPED_MODULES / "classic"), {})
    head = f"import sys\nsys.path[:] = [p for p in sys.path if p != {str(PROJECT)!r}]\n"

    def once():
        with out_of_process(head + text) as host:
            return host.run([FRAME])[0]

    return once


def _only_administrators(*folders):
    """Tell whether the folders are those of administrators, as far as this system says."""
    if WINDOWS:
        return all(owners.is_administrator(owners.owner(folder)) for folder in folders)
    return not any(folder.stat().st_mode & 0o002 for folder in folders)


def _check(run, flag, *folders):
    if _only_administrators(*folders):
        np.testing.assert_array_equal(run(), FRAME > 10)
        assert flag.exists()
        return
    with pytest.raises(nis.NodeFailed, match=r"is not used: its code may be anybody's.*doctor"):
        run()
    assert not flag.exists()  # not a line of it was run


def test_the_folder_for_all_accounts_serves_an_account_without_its_own(computer, run, flag):
    _check(run, flag, computer)


def test_code_that_may_be_a_strangers_is_not_run(computer, run, flag):
    computer.chmod(0o777)  # elsewhere than on Windows: everybody may change it
    _check(run, flag, computer)


@pytest.mark.parametrize("opened", ["the place", "the folder that it leads to"])
def test_a_moved_folder_for_all_accounts_is_looked_at_as_well(
    computer, run, flag, tmp_path, opened
):
    moved = tmp_path / "another disk"
    _install(moved, flag)
    (computer / "location.json").write_text(json.dumps({"root": str(moved)}), "utf-8")
    (computer if opened == "the place" else moved).chmod(0o777)
    _check(run, flag, computer, moved)


def test_what_the_user_has_chosen_is_not_questioned(computer, run, flag, monkeypatch):
    computer.chmod(0o777)
    monkeypatch.setenv("GA3ENV_HOME", os.fspath(computer))
    np.testing.assert_array_equal(run(), FRAME > 10)
    assert flag.exists()


def test_a_config_that_is_just_being_replaced_is_read_again(data_folder, monkeypatch):
    """Windows refuses to open a file in that moment; NIS would say that nothing is installed."""
    publish(data_folder, catalog.load(SHIPPED_MODULES / "classic").declaration(), WORKER)
    refused, real = [], open

    def opening(file, *args, **kwargs):
        if os.path.basename(file) == "config.json" and len(refused) < 3:
            refused.append(file)
            raise PermissionError(13, "Permission denied", file)
        return real(file, *args, **kwargs)

    host = EmbeddedNis(nodes.script(catalog.load(SHIPPED_MODULES / "classic"), {}))
    monkeypatch.setattr(builtins, "open", opening)
    np.testing.assert_array_equal(host.run([FRAME])[0], FRAME > 10)
    assert len(refused) == 3
