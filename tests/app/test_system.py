"""The system page on a real data folder: checklist, GPUs, disk space, workers, support file."""

from __future__ import annotations

import gc
import threading
import zipfile

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel

from app.pages.system import work
from envmanager import disk, workers
from envmanager.data.paths import DataFolder
from envmanager.data.settings import change
from envmanager.doctor import Check, checklist
from envmanager.doctor import computer as doctor_computer
from envmanager.doctor import data as doctor_data
from envmanager.machine.hardware import Gpu, Hardware
from ga3_nodes import client, locks, records
from tests.app.conftest import PATIENCE_MS
from tests.envmanager.doctor.support import complete, only
from tests.programs import caller

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(autouse=True)
def no_leftovers_of_other_tests():
    """Delete Qt objects of earlier tests in this thread: Python else does it in any."""
    gc.collect()


@pytest.fixture
def data(data_folder, monkeypatch):
    """Return a data folder without a network, and a checklist of a few quick lines."""
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    for name in ("LIM_PYTHON_ENVS_PREFIX", "LIM_MAMBA_ROOT", "PROGRAMDATA", "PROGRAMFILES"):
        monkeypatch.delenv(name, raising=False)
    found = DataFolder(data_folder)
    change(found.settings, "offline", ["true"])
    only(monkeypatch, "settings", "data_folder", "leftovers", "config")
    return found


@pytest.fixture
def shown(app, qtbot, data):
    """Return a function that goes to the page, and waits until it has read everything."""

    def show(**hints):
        app.window.show()
        app.window.show_page("system", **hints)
        wait(qtbot, app)
        return app.window._pages["system"]

    return show


def wait(qtbot, app):
    qtbot.waitUntil(lambda: not app.background.under_way(), timeout=PATIENCE_MS)


def click(qtbot, button):
    qtbot.waitUntil(button.isVisible, timeout=PATIENCE_MS)
    assert button.isEnabled()
    qtbot.mouseClick(button, LEFT)


def told(widget):
    labels = widget.findChildren(QLabel)
    return "\n".join(label.text() for label in labels if not label.isHidden() and label.text())


# ---- the checklist ------------------------------------------------------------------------------


def test_lines_appear_as_they_are_known(qtbot, app, shown, monkeypatch):
    go = threading.Event()

    def slow(patient):
        go.wait(30)
        return doctor_data.leftovers(patient)

    examinations = [("settings", doctor_computer.settings), ("leftovers", slow)]
    monkeypatch.setattr(checklist, "_examinations", lambda patient: iter(examinations))
    app.window.show_page("system")
    page = app.window._pages["system"]
    qtbot.waitUntil(lambda: list(page.checklist.lines) == ["settings"], timeout=PATIENCE_MS)
    assert page.checklist.summary.text() == "Checking: 1 done ..."
    assert not page.checklist.again.isEnabled()
    go.set()
    wait(qtbot, app)
    assert list(page.checklist.lines) == ["settings", "leftovers"]
    assert page.checklist.summary.text().startswith("All is well: 2 checks.")


def test_a_fix_mends_and_what_needs_attention_comes_first(qtbot, app, shown, data):
    dead = data.root / "config.json.99999999.tmp"
    dead.write_text("x", "utf-8")
    data.settings.write_text("proxy = 'nonsense'", "utf-8")
    page = shown()
    lines = page.checklist.lines
    statuses = [page.checklist._rows.itemAt(n).widget().check.status for n in range(len(lines))]
    assert statuses == ["error", "warning", "ok", "ok"]
    assert page.checklist.summary.text().startswith("1 error and 1 warning in 4 checks.")
    assert not page.checklist.fix_all.isVisible()  # one line has its own button
    click(qtbot, lines["leftovers"].button)
    wait(qtbot, app)
    assert not dead.exists()
    assert lines["leftovers"].check.status == "ok"
    assert not lines["leftovers"].button.isVisible()
    assert page.checklist.summary.text().startswith("1 error in 4 checks.")
    click(qtbot, lines["settings"].button)
    assert app.window.page == "settings"


def test_everything_is_fixed_at_once_and_checked_again(qtbot, app, shown, data, monkeypatch):
    only(monkeypatch, "config", "client", "leftovers")
    (data.root / "config.json.99999999.tmp").write_text("x", "utf-8")
    data.config.write_text("{", "utf-8")
    page = shown()
    assert page.checklist.lines["config"].check.status == "error"
    assert "./run" not in told(page.checklist)
    click(qtbot, page.checklist.fix_all)
    wait(qtbot, app)
    assert {line.check.status for line in page.checklist.lines.values()} == {"ok"}


def test_a_line_that_is_no_more_vanishes(qtbot, app, shown, monkeypatch):
    page = shown()
    assert len(page.checklist.lines) > 1
    examinations = [("settings", lambda patient: Check.warning("Look.", "There."))]
    monkeypatch.setattr(checklist, "_examinations", lambda patient: iter(examinations))
    click(qtbot, page.checklist.again)
    wait(qtbot, app)
    assert list(page.checklist.lines) == ["settings"]
    assert "There." in told(page.checklist)


# ---- GPUs ---------------------------------------------------------------------------------------


def test_the_gpus_are_told_or_why_there_is_none(qtbot, shown):
    page = shown()
    qtbot.waitUntil(lambda: "Asking" not in told(page.gpus), timeout=PATIENCE_MS)
    gpu = Gpu(0, "NVIDIA RTX A4000", (8, 6), 16 * 2**30, 4 * 2**30)
    page.gpus.show_hardware(Hardware("linux", "nvml", (gpu,), "566.36", (12, 7)))
    parts = ("RTX A4000", "8.6", "4.0 GB of 16 GB memory free", "566.36", "CUDA up to 12.7")
    qtbot.waitUntil(lambda: all(part in told(page.gpus) for part in parts), timeout=PATIENCE_MS)
    reason = "There is an NVIDIA driver, but it sees no GPU."
    page.gpus.show_hardware(Hardware("linux", "none", reason=reason))
    text = f"GPU\n{reason} Modules compute on the processor."
    qtbot.waitUntil(lambda: told(page.gpus) == text, timeout=PATIENCE_MS)


# ---- disk space ---------------------------------------------------------------------------------


def test_disk_space_is_counted_and_the_cache_emptied(qtbot, app, shown, data):
    complete(data)
    cached = data.uv_cache / "wheels-v5" / "x.bin"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"1" * 500_000)
    page = shown()
    qtbot.waitUntil(lambda: bool(page.disk.rows), timeout=PATIENCE_MS)
    wait(qtbot, app)
    qtbot.waitUntil(lambda: "Counted on" in page.disk.date.text(), timeout=PATIENCE_MS)
    found = {row.name: row for row in page.disk.rows}
    assert found["echo"].parts["own"] > 10_000
    assert found["Cache of downloads"].total >= 500_000
    qtbot.waitUntil(lambda: "GB free" in told(page.disk), timeout=PATIENCE_MS)
    click(qtbot, page.disk.empty)
    assert "needs the network" in app.window.messages.text
    assert cached.exists()  # it asks first
    click(qtbot, app.window.messages._action)
    wait(qtbot, app)
    assert not cached.exists()
    assert "of the cache are free again" in app.window.messages.text

    def cache():
        return {row.name: row.total for row in page.disk.rows}["Cache of downloads"]

    qtbot.waitUntil(lambda: cache() < 500_000, timeout=PATIENCE_MS)
    assert page.disk.clean.isEnabled()


def test_figures_of_the_last_count_are_shown_without_counting(qtbot, shown, data, monkeypatch):
    complete(data)
    before = disk.overview(data)
    monkeypatch.setattr(work, "count", lambda *_: pytest.fail("it was counted again"))
    page = shown()
    qtbot.waitUntil(lambda: bool(page.disk.rows), timeout=PATIENCE_MS)
    assert disk.cached(data).date == before.date


# ---- workers ------------------------------------------------------------------------------------


def test_a_worker_is_shown_and_stopped(qtbot, app, shown, echo):
    pid = workers.start("echo")
    client.close()
    page = shown()
    rows = page.workers.rows
    qtbot.waitUntil(lambda: [key[2] for key in rows] == [pid], timeout=PATIENCE_MS)
    (row,) = rows.values()
    assert f"PID {pid}" in told(row)
    assert "CPU" in told(row)
    assert "of memory" in told(row)
    qtbot.waitUntil(lambda: "Used by nobody" in told(row), timeout=PATIENCE_MS)
    click(qtbot, row.button)
    wait(qtbot, app)
    qtbot.waitUntil(lambda: not rows, timeout=PATIENCE_MS)
    assert workers.live(DataFolder(echo)) == []
    assert "No worker runs" in told(page.workers)


def test_a_worker_that_computes_is_killed_when_asked_twice(qtbot, app, shown, echo, monkeypatch):
    monkeypatch.setattr(work, "_PATIENCE_S", 0.2)
    program = caller("segment", mode="sleep")
    page = shown()
    rows = page.workers.rows
    qtbot.waitUntil(
        lambda: any(row.worker.busy and row.worker.clients for row in rows.values()),
        timeout=PATIENCE_MS,
    )
    (row,) = rows.values()
    assert f"PID {program.pid}" in told(row)
    click(qtbot, row.button)
    wait(qtbot, app)
    assert "is still computing" in app.window.messages.text
    assert row.button.text() == "Kill"
    click(qtbot, row.button)
    wait(qtbot, app)
    qtbot.waitUntil(lambda: not rows, timeout=PATIENCE_MS)
    stem = records.stem(echo, "echo", 1)
    assert not locks.is_locked(records.lease_path(stem))
    program.communicate(timeout=60)
    assert program.returncode != 0


def test_nobody_asks_for_workers_while_another_page_is_shown(qtbot, app, shown):
    page = shown()
    assert page.workers._again.isActive()
    app.window.show_page("settings")
    assert not page.workers._again.isActive()
    app.window.show_page("system")
    assert page.workers._again.isActive()


# ---- the vendor's environments, the support file ------------------------------------------------


def test_the_vendors_environments_are_listed_with_their_sizes(
    qtbot, app, shown, tmp_path, monkeypatch
):
    base = tmp_path / "envs" / "Laboratory Imaging" / "NIS-Elements" / "PythonEnvs"
    place = base / "v1" / "System" / "base"
    place.mkdir(parents=True)
    (place / "python.dll").write_bytes(b"1" * 2_000_000)
    monkeypatch.setenv("LIM_PYTHON_ENVS_PREFIX", str(tmp_path / "envs"))
    page = shown()
    qtbot.waitUntil(lambda: place in page.vendor.sizes, timeout=PATIENCE_MS)
    wait(qtbot, app)
    assert page.vendor.sizes[place].text() == "2.0 MB"
    assert str(place) in told(page.vendor)


def test_without_nis_the_panel_says_so(qtbot, shown):
    assert "no Python environments of its own" in told(shown().vendor)


def test_the_support_file_comes_with_one_click(qtbot, app, shown, tmp_path, monkeypatch):
    page = shown()
    monkeypatch.setattr(page.support, "folder", lambda: tmp_path / "Downloads")
    assert not page.support.open.isVisible()
    click(qtbot, page.support.make)
    assert not page.support.make.isEnabled()
    wait(qtbot, app)
    assert page.support.open.isVisible()
    (path,) = (tmp_path / "Downloads").iterdir()
    assert str(path) in page.support.told.text()
    with zipfile.ZipFile(path) as archive:
        assert {"doctor.json", "list.json", "settings.toml"} <= set(archive.namelist())


def test_a_support_file_that_cannot_be_written_is_told(qtbot, app, shown, tmp_path, monkeypatch):
    page = shown()
    (tmp_path / "file").write_text("x", "utf-8")
    monkeypatch.setattr(page.support, "folder", lambda: tmp_path / "file" / "below")
    click(qtbot, page.support.make)
    wait(qtbot, app)
    assert "The system refused" in app.window.messages.text
    assert not page.support.open.isVisible()
    assert page.support.make.isEnabled()
