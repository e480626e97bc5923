"""Fixtures of the app's tests: real widgets, the real engine, and nothing left at the end."""

from __future__ import annotations

import gc
import os
from pathlib import Path

# The bench names a folder for pictures where it has a screen (`./run test --windows`).
os.environ.setdefault(
    "QT_QPA_PLATFORM", "windows" if "GA3ENV_SCREENSHOTS" in os.environ else "offscreen"
)

import pytest
from PySide6.QtCore import QEvent, QSettings
from PySide6.QtWidgets import QApplication, QDialog, QMessageBox

from app import application
from app.pages.try_it.page import TryPage
from tests.app import on_try_it, toy_module
from tests.envmanager.conftest import (  # noqa: F401 - the small module that real uv installs
    environments,
    installed,
    tiny,
    tiny_lock,
    tiny_root,
)

PATIENCE_MS = 60_000


@pytest.fixture(scope="session")
def qapp_cls():
    return QApplication


@pytest.fixture(scope="session", autouse=True)
def old_objects_are_no_garbage():
    """Keep the many objects of pytest and of all modules out of the search after each test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def garbage_in_the_gui_thread():
    """Collect garbage where the app does: in a thread of the background it would end Qt objects.

    Before that, windows that were told to go do so, though no event loop runs any more: those of
    all tests would be restyled in each one that follows.
    """
    gc.disable()
    yield
    if QApplication.instance():
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    gc.enable()


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    """Keep the window's place and the like out of the user's own settings."""
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    folder = str(tmp_path / "qt settings")
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)


@pytest.fixture(autouse=True)
def no_modal_boxes(monkeypatch):
    """Fail where a modal box would stop everything."""

    def refuse(*_, **__):
        raise AssertionError("a modal box was opened")

    monkeypatch.setattr(QDialog, "exec", refuse)
    for name in ("information", "warning", "critical", "question"):
        monkeypatch.setattr(QMessageBox, name, refuse)


@pytest.fixture
def app(qtbot, data_folder):
    """Return the running application on an empty data folder; its window is not shown yet."""
    made = application.Application()
    qtbot.addWidget(made.window)
    yield made
    made.shut_down()
    made.window.close()


@pytest.fixture
def toy(data_folder) -> Path:
    """Publish the module `toy`; return the data folder."""
    toy_module.publish_toy(data_folder)
    return data_folder


@pytest.fixture
def calibrated(tmp_path) -> Path:
    """Return the image that `toy` works on, with pixels of 0.5 µm."""
    path = tmp_path / "blobs ü.ome.tif"
    toy_module.write_calibrated(path)
    return path


@pytest.fixture
def try_page(app, qtbot, toy) -> TryPage:
    """Return the page *Try it*, on which `toy` is chosen."""
    made = on_try_it.show(app, qtbot, module="toy")
    qtbot.waitUntil(lambda: made.column.function == "segment", timeout=PATIENCE_MS)
    return made
