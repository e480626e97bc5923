"""Fixtures of the app's tests: real widgets, the real engine, and nothing left at the end."""

from __future__ import annotations

import gc
import os

# The bench names a folder for pictures where it has a screen (`./run test --windows`).
os.environ.setdefault(
    "QT_QPA_PLATFORM", "windows" if "GA3ENV_SCREENSHOTS" in os.environ else "offscreen"
)

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication, QDialog, QMessageBox

from app import application
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


@pytest.fixture(autouse=True)
def garbage_in_the_gui_thread():
    """Collect garbage where the app does: in a thread of the background it would end Qt objects."""
    gc.disable()
    yield
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
