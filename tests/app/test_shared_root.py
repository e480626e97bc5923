"""Modules of all accounts in the app: sharing them, an administrator, and another account."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton

from app import store
from app.pages.modules import steps
from app.pages.settings import share_panel
from app.pages.system.checklist import hint_text, next_step
from app.widgets.activity import TaskRow
from app.widgets.text import Text
from envmanager.data.paths import DataFolder
from envmanager.doctor import Check
from envmanager.events import Stage
from envmanager.modules import catalog
from envmanager.weights import importing
from envmanager.weights.store import Store
from ga3_nodes import home, owners
from tests.app.conftest import PATIENCE_MS
from tests.conftest import end_workers
from tests.envmanager.accounts.conftest import (  # noqa: F401 - two accounts of one computer
    Account,
    admin,
    anna,
    installed,
    place,
    shared,
)
from tests.support import ECHO_DECLARATION, ECHO_WORKER, PROJECT, publish

LEFT = Qt.MouseButton.LeftButton
linux = pytest.mark.skipif(sys.platform != "linux", reason="numbers of accounts are of Linux")
elevated = pytest.mark.skipif(not owners.is_elevated(), reason="only an administrator may share")


@pytest.fixture
def soon(qtbot):
    return lambda condition: qtbot.waitUntil(condition, timeout=PATIENCE_MS)


@pytest.fixture
def pages(app, soon):
    """Return a function that shows a page of the app."""

    def shown(name: str):
        app.window.resize(1280, 900)
        app.show(name)
        soon(lambda: app.store.snapshot is not None)
        return app.window._pages[name]

    return shown


def said(inside) -> str:
    return "\n".join(text.toPlainText() for text in inside.findChildren(Text))


def buttons(inside) -> dict[str, QAbstractButton]:
    found = inside.findChildren(QAbstractButton)
    return {button.text(): button for button in found if button.isVisible()}


# ---- sharing ------------------------------------------------------------------------------------


class TestSharing:
    """An account makes its own environments those of all."""

    @pytest.fixture
    def data_folder(self, tmp_path, monkeypatch):
        """An own data folder in its usual place, with one module, and an empty computer."""
        monkeypatch.delenv("GA3ENV_HOME", raising=False)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "own é"))
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "own é"))
        monkeypatch.setenv("PROGRAMDATA", str(tmp_path / "computer"))
        root = home.user_root()
        root.mkdir(parents=True)
        folder = publish(root, ECHO_DECLARATION, ECHO_WORKER)
        manifest = {"backend": "cpu", "disk": {"own": 1, "shared": 0}}
        (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
        (root / "settings.toml").write_text("generations_kept = 3\n", "utf-8")
        yield root
        end_workers(root)

    @elevated
    def test_it_is_explained_done_and_told(self, pages, app, qtbot, soon, data_folder):
        page = pages("settings")
        soon(page.data.share_button.isVisible)
        qtbot.mouseClick(page.data.share_button, LEFT)
        panel = page.data.share_panel
        soon(lambda: "Share" in buttons(panel))
        target = home.machine_root()
        for told in ("every account of this computer", str(data_folder), str(target), "echo"):
            assert told in said(panel), told
        assert not page.data.share_button.isVisible()
        qtbot.mouseClick(buttons(panel)["Share"], LEFT)
        soon(lambda: "All accounts of this computer share" in said(panel))
        assert "All accounts of this computer share" in app.window.messages.text
        assert home.read_config(data_folder)["modules"] == {}
        assert list(home.read_config(target)["modules"]) == ["echo"]
        assert (data_folder / "settings.toml").read_text("utf-8") == "generations_kept = 3\n"
        soon(lambda: str(target) in page.data.sharing.toPlainText())
        qtbot.mouseClick(buttons(panel)["Close"], LEFT)
        assert not panel.isVisible()
        assert page.data.sharing.isVisible()
        assert not page.data.share_button.isVisible(), "it is shared already"

    @elevated
    def test_it_is_cancelled(self, pages, app, qtbot, soon, data_folder, monkeypatch):
        whole = share_panel._move

        def waiting_for_the_user(report, cancel):
            def slow(event):
                report(event)
                if isinstance(event, Stage) and event.name == "copy":
                    cancel._event.wait(30)

            return whole(slow, cancel)

        monkeypatch.setattr(share_panel, "_move", waiting_for_the_user)
        page = pages("settings")
        panel = page.data.share_panel
        panel.look()
        soon(lambda: "Share" in buttons(panel))
        qtbot.mouseClick(buttons(panel)["Share"], LEFT)
        task = panel.task
        soon(lambda: task.stage is not None and task.stage.name == "copy")
        qtbot.mouseClick(panel.findChild(TaskRow).cancel, LEFT)
        soon(lambda: task.is_over)
        assert task.state == "cancelled"
        assert "is as it was" in app.window.messages.text
        assert not panel.isVisible()
        assert page.data.share_button.isVisible()
        assert list(home.read_config(data_folder)["modules"]) == ["echo"]
        assert not (home.machine_root() / "config.json").exists()

    def test_what_is_in_the_way_is_told(self, pages, soon, data_folder, monkeypatch):
        page = pages("settings")
        monkeypatch.setenv("GA3ENV_HOME", str(data_folder))
        page.data.share_panel.look()
        soon(lambda: "The variable GA3ENV_HOME" in said(page.data.share_panel))
        soon(lambda: {"Cancel", "Check again"} <= set(buttons(page.data.share_panel)))
        assert "Share" not in buttons(page.data.share_panel)
        buttons(page.data.share_panel)["Cancel"].click()
        assert page.data.share_button.isVisible()

    def test_reading_the_rights_does_not_call_for_the_next_reading(
        self, pages, app, qtbot, monkeypatch
    ):
        pages("modules")
        whole, reads = store._read_and_places, []

        def counted():
            reads.append(1)
            return whole()

        monkeypatch.setattr(store, "_read_and_places", counted)
        app.store.refresh()
        qtbot.wait(2000)  # else ten of them: one takes some 50 ms, the next begins 150 ms after it
        assert 1 <= len(reads) <= 4


# ---- two accounts -------------------------------------------------------------------------------


@linux
@pytest.mark.slow
class TestTwoAccounts:
    """The administrator, who is this process, and an account with another number."""

    @pytest.fixture
    def data_folder(self, admin, shared, monkeypatch):  # noqa: F811
        monkeypatch.delenv("GA3ENV_HOME", raising=False)
        for name in ("XDG_DATA_HOME", "PROGRAMDATA", "UV_CACHE_DIR"):
            monkeypatch.setenv(name, admin.environment[name])
        yield admin.root
        end_workers(admin.root)

    @pytest.fixture
    def weights(self, data_folder, shared, tmp_path):  # noqa: F811
        """Add weights for all accounts."""
        path = tmp_path / "lab.pt"
        path.write_bytes(b"of the lab")
        shared_folder = DataFolder(shared)
        importing.add(Store(shared_folder, catalog.find("tiny", shared_folder)), path, "lab")

    def test_another_account_uses_them_and_changes_nothing(self, weights, anna: Account):  # noqa: F811
        pictures = {name: os.environ[name] for name in ("GA3ENV_PICTURES",) if name in os.environ}
        told = anna.having(**pictures).start(
            *("-m", "pytest", "-q", PROJECT / "tests" / "app" / "second_account.py"),
            *("-c", PROJECT / "pyproject.toml", "--rootdir", PROJECT),
            *("-p", "no:cacheprovider", "--basetemp", anna.folder / "pytest"),
        )
        out, err = told.communicate(timeout=300)
        assert told.returncode == 0, f"{out}\n{err}"
        assert " passed" in out
        assert "skipped" not in out

    def test_an_administrator_changes_them_for_all(self, pages, app, qtbot, soon, shared):  # noqa: F811
        page = pages("modules")
        card = page.cards["tiny"]
        assert card._shared.isVisible()
        assert card._shared.toolTip() == "What you change here changes for all accounts."
        assert "changes for all accounts" in page.shared_hint.text.text()
        actions = {action.data(): action for action in card.menu.actions() if action.data()}
        assert all(action.isEnabled() for action in actions.values())
        app.window.show_page("modules", module="tiny", step=steps.PIN)
        page.side.note.setText("for all")
        buttons(page.side)["Pin"].click()
        soon(lambda: [pin.note for pin in card.status.pins] == ["for all"])
        assert (shared / "envs" / "tiny" / "1" / "pin.json").is_file()
        app.window.show_page("modules", module="tiny", step=steps.UNPIN)
        soon(lambda: card.status.pins == [])
        page.do("tiny", steps.REMOVE)
        assert "All accounts of this computer share it" in said(page.side)
        page.do("classic", steps.INSTALL)
        sheet = page.side
        soon(lambda: sheet.place is not None)
        choices = [sheet.place.itemText(row) for row in range(sheet.place.count())]
        assert choices == ["All accounts of this computer", "Me alone"]

    def test_one_for_me_alone_wins_until_it_is_removed(self, pages, app, soon, admin):  # noqa: F811
        page = pages("modules")
        card = page.cards["tiny"]
        app.window.show_page("modules", module="tiny", step=steps.INSTALL_ALONE)
        soon(lambda: "Install" in buttons(page.side))
        buttons(page.side)["Install"].click()
        soon(lambda: not card.status.shared and card.told == "Ready")
        assert Path(card.status.root) == admin.root
        assert not card._shared.isVisible()
        app.window.show_page("modules", module="tiny", step=steps.REMOVE)
        buttons(page.side)["Remove"].click()
        soon(lambda: card._shared.isVisible() and card.told == "Ready")

    def test_wrong_permissions_are_found_and_mended_on_the_system_page(
        self,
        pages,
        qtbot,
        soon,
        shared,  # noqa: F811
    ):
        shared.chmod(0o777)
        page = pages("system")
        soon(lambda: page.checklist.has_run and not page.checklist._task)
        line = page.checklist.lines["shared_folder"]
        assert line.check.status == "error"
        assert "can be changed by every account" in line.check.message
        assert line.button.text() == "Fix"
        qtbot.mouseClick(line.button, LEFT)
        soon(lambda: page.checklist._task is None and line.check.status == "ok")
        assert shared.stat().st_mode & 0o777 == 0o755


def test_who_cannot_mend_reads_what_an_administrator_does():
    hint = "As administrator: ./run doctor --fix, or chmod -R go-w '/var/lib/GA3EnvManager'"
    line = Check("shared_folder", "error", "Every account may write there.", hint)
    assert hint_text(line) == hint
    assert next_step(line) == ("", "")
