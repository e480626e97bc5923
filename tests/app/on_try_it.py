"""What a user does on the page *Try it*."""

from __future__ import annotations

from pathlib import Path

from app.pages.try_it.page import TryPage

PATIENCE_MS = 60_000


def show(app, qtbot, **hints) -> TryPage:
    app.show("try")
    app.window.resize(1280, 720)
    app.window.show_page("try", **hints)
    page = app.window._pages["try"]
    qtbot.waitUntil(lambda: bool(app.store.snapshot), timeout=PATIENCE_MS)
    return page


def open_image(page, qtbot, path: Path) -> None:
    with qtbot.waitSignal(page.images.image_opened, timeout=PATIENCE_MS):
        page.images.open(path)


def run(page, qtbot) -> None:
    assert page.column.bar.problem == ""
    page.column.bar.start.click()
    assert page.column.task is not None
    qtbot.waitUntil(lambda: page.column.task is None, timeout=PATIENCE_MS)


def choose_function(page, name: str) -> None:
    choice = page.column.choice.function
    choice.setCurrentIndex(choice.findData(name))
    choice.activated.emit(choice.currentIndex())


def choose_area(page, text: str) -> None:
    choice = page.column.choice.area
    choice.setCurrentIndex(choice.findText(text))
    choice.activated.emit(choice.currentIndex())
