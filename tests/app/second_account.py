"""The app of an account that may use what all share, and not change it.

`test_shared_root` runs this file with pytest as such an account; by itself it is not collected.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QEventLoop, Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton

from app.pages.modules import rights, steps
from app.pages.modules.detail_facts import VERSIONS
from app.theme import DARK, LIGHT
from app.widgets.text import Text
from envmanager.environments import everywhere
from ga3_nodes import home
from tests.app.conftest import PATIENCE_MS

CHANGES = {"update", "repair", "remove"}
PICTURES = os.environ.get("GA3ENV_PICTURES")


@pytest.fixture
def data_folder():
    """The account's own data folder, where it usually is."""
    yield home.user_root()
    everywhere.stop()


@pytest.fixture
def soon(qtbot):
    return lambda condition: qtbot.waitUntil(condition, timeout=PATIENCE_MS)


@pytest.fixture
def page(app, soon):
    app.window.resize(1280, 900)
    app.show()
    soon(lambda: app.store.snapshot is not None)
    return app.window._pages["modules"]


@pytest.fixture
def image(tmp_path) -> Path:
    pixels = np.zeros((40, 40), np.uint16)
    pixels[10:20, 10:20] = 900
    path = tmp_path / "bilder ü" / "one.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, pixels)
    return path


def said(inside) -> str:
    return "\n".join(text.toPlainText() for text in inside.findChildren(Text))


def buttons(inside) -> dict[str, QAbstractButton]:
    """Return the buttons that can be seen, by their texts."""
    found = inside.findChildren(QAbstractButton)
    return {button.text(): button for button in found if button.isVisible()}


def click(qtbot, inside, text: str) -> None:
    """Press a button as soon as it can be pressed."""
    qtbot.waitUntil(
        lambda: text in buttons(inside) and buttons(inside)[text].isEnabled(), timeout=PATIENCE_MS
    )
    qtbot.mouseClick(buttons(inside)[text], Qt.MouseButton.LeftButton)


def take_picture(app, name: str) -> None:
    """Keep pictures of the window, light and dark, where somebody wants to look at them."""
    if not PICTURES:
        return
    for scheme, colors in ((Qt.ColorScheme.Light, LIGHT), (Qt.ColorScheme.Dark, DARK)):
        app.theme.apply(scheme)
        assert app.theme.colors is colors
        loop = QEventLoop()
        QTimer.singleShot(400, loop.quit)  # texts have found their height by then
        loop.exec()
        app.window.grab().save(f"{PICTURES}/{name}-{scheme.name.lower()}.png")
    app.theme.apply(Qt.ColorScheme.Light)


def test_a_shared_module_is_marked_and_cannot_be_changed(app, page, soon):
    card = page.cards["tiny"]
    assert card._shared.isVisible()
    assert not card._own.isVisible(), "it is the administrator's own"
    assert not page.cards["classic"]._shared.isVisible()
    assert (card.told, card.main.text(), card.main.isEnabled()) == ("Ready", "Try it", True)
    actions = {action.data(): action for action in card.menu.actions() if action.data()}
    for key in CHANGES:
        assert not actions[key].isEnabled(), key
        assert "only an administrator can change it" in actions[key].toolTip()
    for key in ("install_alone", "node", "weights", "selftest", "verify", "methods", "log"):
        assert actions[key].isEnabled(), key
    assert page.shared_hint.isVisible()
    assert "only an administrator can" in page.shared_hint.text.text()
    page.choose("tiny")
    soon(lambda: card.may.refusal in said(page.side))
    take_picture(app, "second-details")
    page.side.show_tab(VERSIONS)
    soon(lambda: "Pin ..." in buttons(page.side))
    assert not buttons(page.side)["Pin ..."].isEnabled()
    assert buttons(page.side)["Pin ..."].toolTip() == card.may.refusal
    take_picture(app, "second-versions")


def test_a_change_that_another_page_asks_for_is_refused_with_a_way_out(app, page, qtbot):
    app.window.show_page("modules", module="tiny", step=steps.REPAIR)
    assert app.window.messages.text == page.cards["tiny"].may.refusal
    take_picture(app, "second-refused")
    click(qtbot, app.window.messages, "Install for me alone")
    assert page.side.accessibleName() == "Install Tiny threshold for me alone"
    assert "others go on with the shared one" in said(page.side)
    assert page.side.place is None, "there is nothing to choose"
    take_picture(app, "second-alone")


def test_what_is_due_is_left_to_the_administrator(app, page, soon):
    """An update, and a repair: the card says whose they are, and what this account can do."""
    card = page.cards["tiny"]
    newer = replace(card.status, state="update_available", version="2.0.0")
    card.show_status(newer, card.summary, card.own, card.may)
    assert card.main.text() == "Try it"
    assert "Only an administrator can update it" in card._due.text()
    assert card._due.isVisible()
    take_picture(app, "second-update")
    broken = replace(card.status, state="broken", problems=["A part is missing."])
    card.show_status(broken, card.summary, card.own, card.may)
    assert card.main.text() == "Install for me alone"
    soon(lambda: card.main.sizeHint().width() <= card.main.width())  # else its text is cut
    assert card._due.text() == card.may.refusal
    take_picture(app, "second-broken")


def test_it_is_tested_tried_and_run_on_a_folder(app, page, soon, image):
    page.do("tiny", steps.SELFTEST)
    soon(lambda: "passed" in app.window.messages.text)
    app.window.show_page("try", module="tiny")
    trial = app.window._pages["try"]
    trial.images.open(image)
    soon(lambda: trial.column.function == "segment" and not trial.column.bar.problem)
    trial.column.bar.start.click()
    soon(lambda: trial.column.task is None)
    assert trial.results.shown.objects == 1
    app.window.show_page("batch", module="tiny", function="segment", parameters={})
    batch = app.window._pages["batch"]
    soon(lambda: batch.column.chosen.function == "segment")
    batch.folders.take_paths([image.parent])
    soon(lambda: bool(batch.panel.images.rows) and not batch.column.bar.problem)
    batch.column.bar.start.click()
    soon(lambda: batch.runner.task is None)
    assert (image.parent / "results" / "one_labels.ome.tif").is_file()
    # Its worker is this account's, though its environment is not.
    app.window.show_page("system")
    panel = app.window._pages["system"].workers
    soon(lambda: [module for module, _, _ in panel.rows] == ["tiny"])


def test_its_node_is_made(app, page, soon):
    app.window.show_page("nodes", module="tiny")
    nodes = app.window._pages["nodes"]
    soon(lambda: '"tiny"' in nodes.script.toPlainText() and nodes.notice.text == "")
    assert nodes.check.start.isEnabled()


def test_weights_of_its_own_are_added_and_shared_ones_stay(page, qtbot, soon, app, tmp_path):
    page.do("tiny", steps.WEIGHTS)
    row = page.side.rows["lab"]
    assert row._state.text() == "Shared by all"
    assert not row.remove.isEnabled()
    assert "Only an administrator can remove" in row.remove.toolTip()
    mine = tmp_path / "mine.pt"
    mine.write_bytes(b"weights")
    page.side.offer(mine)
    click(qtbot, page.side, "Import")
    soon(lambda: "mine" in page.side.rows)
    assert (home.user_root() / "weights" / "tiny" / "custom" / "mine").exists()
    take_picture(app, "second-weights")
    qtbot.mouseClick(page.side.rows["mine"].remove, Qt.MouseButton.LeftButton)
    soon(lambda: "mine" not in page.side.rows)
    assert "lab" in page.side.rows


def test_the_settings_say_whose_the_folder_is(app, page, soon):
    app.window.show_page("settings")
    panel = app.window._pages["settings"].data
    assert panel.sharing.toPlainText().endswith("Only an administrator may change it.")
    assert str(home.machine_root()) in panel.sharing.toPlainText()
    assert not panel.share_button.isVisible()
    take_picture(app, "second-settings")


def test_the_space_of_what_all_share_is_shown(app, page, soon):
    app.window.show_page("system")
    panel = app.window._pages["system"].disk
    soon(lambda: "Tiny threshold (all accounts)" in [row.name for row in panel.rows])
    soon(lambda: panel.date.text().endswith("only an administrator may clean that."))
    (row,) = [row for row in panel.rows if row.name.startswith("Tiny threshold")]
    assert row.total > 1_000_000
    assert str(home.machine_root()) in panel.date.text()
    take_picture(app, "second-system")


def test_sharing_without_the_rights_gives_the_command_for_an_administrator(app, page, qtbot, soon):
    app.window.show_page("settings")
    panel = app.window._pages["settings"].data.share_panel
    panel.look()
    command = f'move-root --machine-wide --from "{home.user_root()}"'
    soon(lambda: command in said(panel) and "Check again" in buttons(panel))
    assert "Only an administrator can" in said(panel)
    assert "Share" not in buttons(panel)
    take_picture(app, "second-share")
    click(qtbot, panel, "Copy")
    assert QGuiApplication.clipboard().text().endswith(command)


def test_the_hint_is_closed_for_good(app, page, qtbot):
    assert page.shared_hint.isVisible()
    qtbot.mouseClick(page.shared_hint.close_button, Qt.MouseButton.LeftButton)
    page.shared_hint.show_snapshot(app.store.snapshot)
    assert not page.shared_hint.isVisible()


def test_the_pill_says_what_it_means(page):
    assert page.cards["tiny"]._shared.text() == rights.SHARED
    assert "Install for me alone" in page.cards["tiny"]._shared.toolTip()
