"""Bundles in the app: made by a sheet; dropped on the window, shown first, then installed."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QTableWidget

from app.pages.modules import steps
from app.pages.modules.bundle import BundleSheet
from app.pages.modules.offline import OfflineSheet
from envmanager.bundles import reading
from envmanager.bundles.target import here, own_python
from envmanager.data.paths import DataFolder
from envmanager.environments import inventory
from ga3_nodes import home, owners
from tests import carried_python
from tests.app.conftest import PATIENCE_MS
from tests.app.test_modules import _can_click, _cells, _click, _menu, _said
from tests.app.test_sharing import _drop
from tests.envmanager.bundles.conftest import workshop
from tests.faults import mini
from tests.wheel_server import WheelServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not here(), reason="bundles are for 64-bit Windows and Linux PCs"),
]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    wheels = mini.make_wheels(tmp_path / "wheels")
    with WheelServer() as server:
        for wheel in (wheels.numpy, *wheels.files[1]):
            server.add(wheel)
        yield workshop(tmp_path / "shop", server, wheels)


@pytest.fixture
def data(data_folder):
    return DataFolder(data_folder)


@pytest.fixture
def soon(qtbot):
    """Return a function that waits until something is true."""
    return lambda condition: qtbot.waitUntil(lambda: bool(condition()), timeout=PATIENCE_MS)


def test_a_module_is_taken_offline(app, soon, data, shop, tmp_path):
    workshop(data.root, shop.server, shop.wheels)
    app.show()
    soon(lambda: app.store.snapshot is not None)
    page = app.window._pages["modules"]
    assert "offline" in _menu(page.cards["classic"])
    page.do("mini", steps.OFFLINE)
    soon(lambda: _can_click(page.side, "Save as ..."))
    sheet = page.side
    assert isinstance(sheet, OfflineSheet)
    assert (sheet.platform.currentText(), sheet.python.currentText()) == (here(), own_python())
    assert sheet.backend.count() == 0
    sheet.weights["small"].setChecked(True)
    sheet.save(tmp_path / "lab.ga3bundle")
    soon(lambda: "ready to be carried over" in app.window.messages.text)
    said = reading.look(tmp_path / "lab.ga3bundle")
    assert [one.name for one in said.modules[0].weights] == ["small"]
    page.do("cellpose", steps.OFFLINE)
    soon(lambda: page.side.backend.count())
    assert page.side.backend.currentText() == "cpu"
    assert page.side.weights["cyto3"].isChecked()
    asked = []
    page.side.confirmed.disconnect()  # only asked for: that Python comes from the network
    page.side.confirmed.connect(lambda wanted, _: asked.append(wanted.with_python))
    page.side.save(tmp_path / "other.ga3bundle")
    page.side.with_python.setChecked(True)
    page.side.save(tmp_path / "other.ga3bundle")
    assert asked == [False, True]


def test_a_dropped_bundle_is_shown_then_installed(app, qtbot, soon, data_folder, shop, tmp_path):
    bundle = shop.make(tmp_path / "lab.ga3bundle", weights=["small"]).path
    app.show()
    soon(lambda: app.store.snapshot is not None)
    _drop(app.window, bundle)
    page = app.window._pages["modules"]
    soon(lambda: _can_click(page.side, "Install"))
    assert isinstance(page.side, BundleSheet)
    said = _said(page.side)
    assert "will run on this computer" in said
    assert "Mini 1.0.0" in said
    (table,) = page.side.findChildren(QTableWidget)
    assert ["Weights small", "21.0 kB", "CC-BY-4.0"] in _cells(table)
    assert not (data_folder / "modules").exists()
    assert not page.side.for_all.isVisible()
    _click(qtbot, page.side, "Install")
    soon(lambda: "Ready to use: mini 1.0.0" in app.window.messages.text)
    assert inventory.status(DataFolder(data_folder), "mini").state == "ready"

    archive, sha256 = carried_python.pack(tmp_path)
    own = {"python_archive": archive, "python_sha256": sha256}
    page.offer(shop.make(tmp_path / "whole.ga3bundle", **own).path)
    soon(lambda: "which it brings along" in _said(page.side))

    bundle.write_bytes(bundle.read_bytes()[:500])
    page.offer(bundle)
    soon(lambda: "damaged" in _said(page.side))
    assert not _can_click(page.side, "Install")


@pytest.mark.skipif(not owners.is_elevated(), reason="only an administrator may")
class TestForAll:
    """An account whose data folder is where it usually is."""

    @pytest.fixture
    def data_folder(self, tmp_path, monkeypatch):
        monkeypatch.delenv("GA3ENV_HOME", raising=False)
        for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "PROGRAMDATA"):
            monkeypatch.setenv(name, str(tmp_path / name))
        home.user_root().mkdir(parents=True)
        return home.user_root()

    def test_an_administrator_installs_a_bundle_for_all(self, app, qtbot, soon, shop, tmp_path):
        bundle = shop.make(tmp_path / "lab.ga3bundle")
        app.show()
        soon(lambda: app.store.snapshot is not None)
        page = app.window._pages["modules"]
        page.offer(bundle.path)
        soon(lambda: _can_click(page.side, "Install"))
        assert page.side.for_all.isVisible()
        assert not page.side.for_all.isChecked(), "nothing is shared here yet"
        asked = []
        page.side.confirmed.disconnect()  # only asked for: no Python of the tests is for all
        page.side.confirmed.connect(lambda *chosen: asked.append(chosen))
        _click(qtbot, page.side, "Install")
        page.side.for_all.setChecked(True)
        _click(qtbot, page.side, "Install")
        checksum = bundle.manifest.checksum
        assert asked == [(checksum, False, None), (checksum, False, home.machine_root())]
