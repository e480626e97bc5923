"""The whole story in the app: Cellpose from its card to a green connection check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton

from app.pages.modules import steps
from app.pages.modules.plans import InstallSheet
from app.pages.modules.weights import WeightsSheet
from envmanager import workers
from envmanager.connection import LINKS
from envmanager.data.paths import DataFolder
from ga3_nodes import client, home
from ga3_nodes.errors import GA3EnvError
from tests import programs
from tests.app.conftest import (  # noqa: F401 - the app, offscreen
    app,
    garbage_in_the_gui_thread,
    no_modal_boxes,
    own_settings,
    qapp_cls,
)
from tests.conftest import end_workers
from tests.modules.conftest import ONE_THREAD, add_variables
from tests.modules.training import cells

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
INSTALL_MS, PATIENCE_MS = 600_000, 120_000


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "zellen é.tif"
    tifffile.imwrite(path, cells(200, (104, 120), 20)[0])
    return path


@pytest.fixture
def empty_root(trained, torch_settings, module_cache, tmp_path, monkeypatch) -> Iterator[Path]:
    """Give a data folder in which nothing is installed; a network was trained before."""
    root = tmp_path / "Daten é"
    root.mkdir()
    links = ", ".join(json.dumps(place) for place in torch_settings.find_links)
    text = f"find_links = [{links}]\npython = {json.dumps(torch_settings.python)}\n"
    (root / "settings.toml").write_text(text, "utf-8")
    monkeypatch.setenv("GA3ENV_HOME", str(root))
    monkeypatch.setenv("UV_CACHE_DIR", str(module_cache))
    yield root
    end_workers(root)


def buttons(widget, text: str) -> list[QPushButton]:
    found = widget.findChildren(QPushButton)
    return [button for button in found if button.text() == text and button.isEnabled()]


def test_from_the_card_to_a_green_check(empty_root, trained, picture, qtbot, request):
    running = request.getfixturevalue("app")  # which reads the data folder at its start
    running.show("modules")
    page = running.window._pages["modules"]

    def until(condition, patience_ms: int = PATIENCE_MS) -> None:
        qtbot.waitUntil(condition, timeout=patience_ms)

    until(lambda: "cellpose" in page.cards)
    card = page.cards["cellpose"]
    qtbot.mouseClick(card.main, Qt.MouseButton.LeftButton)
    assert isinstance(page.side, InstallSheet)
    until(lambda: bool(buttons(page.side, "Install")))
    page.side.weights.setChecked(False)  # nothing can be downloaded here
    buttons(page.side, "Install")[0].click()
    until(lambda: card.status.state == "weights_missing", INSTALL_MS)
    assert card.main.text() == steps.GET_WEIGHTS.title
    add_variables(empty_root / "config.json", "cellpose", ONE_THREAD)

    qtbot.mouseClick(card.main, Qt.MouseButton.LeftButton)
    assert isinstance(page.side, WeightsSheet)
    sheet = page.side
    sheet.offer(trained / "trained")
    sheet.name.setText("lab")
    sheet.add()
    until(lambda: "lab" in {found.name for found in card.status.weights if found.present})

    running.window.show_page("try", module="cellpose", parameters={"model": "lab", "diameter": 18})
    trial = running.window._pages["try"]
    with qtbot.waitSignal(trial.images.image_opened, timeout=PATIENCE_MS):
        trial.images.open(picture)
    until(lambda: trial.column.function == "segment" and not trial.column.bar.problem)
    trial.column.bar.start.click()
    until(lambda: trial.column.task is None)
    assert trial.results.shown.objects > 5

    buttons(trial, "Make GA3 node")[0].click()
    until(lambda: running.window.page == "nodes")
    node = running.window._pages["nodes"]
    until(lambda: '"model": "lab"' in node.script.toPlainText())
    assert '"diameter": 18' in node.script.toPlainText()
    node.check.start.click()
    until(lambda: len(node.check.links) == len(LINKS) and node.check._task is None)
    assert [link.ok for link in node.check.links] == [True] * len(LINKS)
    assert home.published("cellpose").root == empty_root
    assert np.array_equal(tifffile.imread(picture), cells(200, (104, 120), 20)[0])

    client.close()
    programs.until(
        lambda: not any(w.clients for w in workers.live(DataFolder(empty_root), "cellpose"))
    )
    code, told = programs.answer(programs.command("remove", "cellpose"))
    assert code == 0, told
    with pytest.raises(GA3EnvError, match="not installed"):
        client.call("cellpose", "segment", {"image": tifffile.imread(picture)})
