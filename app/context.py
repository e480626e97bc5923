"""What every page is given: the background, the store, the theme, and the way to the window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from PySide6.QtCore import QObject, QSize
from PySide6.QtWidgets import QLabel, QPushButton, QToolButton, QWidget

from app import icons
from app.background import Background
from app.store import Store
from app.theme import Theme
from envmanager.errors import GA3EnvError


class Shell(Protocol):
    """What the main window does for its pages."""

    def show_page(self, page: str, **hints: Any) -> None:
        """Go to a page, which gets `hints` through `Page.visit`."""

    def tell(
        self,
        text: str,
        *,
        tone: str = "info",
        details: str = "",
        action: str = "",
        run: Callable[[], object] | None = None,
    ) -> None:
        """Say something in the message bar; `tone` is info, success, warning or danger.

        `action` is the text of a button for the next step, which `run` takes.
        """

    def tell_error(
        self, error: GA3EnvError, *, action: str = "", run: Callable[[], object] | None = None
    ) -> None:
        """Show an error with its hint, a button for the next step, and its details folded away."""


@dataclass(frozen=True)
class Context:
    """Handed to every page and to what a page is made of."""

    background: Background
    store: Store
    theme: Theme
    shell: Shell

    def set_icon(self, button: QPushButton | QToolButton, name: str, color: str = "text") -> None:
        """Give a button a drawing in a colour of the theme, now and after the scheme changes."""

        def draw() -> None:
            button.setIcon(icons.icon(name, getattr(self.theme.colors, color)))

        draw()
        self._follow(button, draw)

    def set_picture(self, label: QLabel, name: str, color: str = "text", size: int = 20) -> None:
        """Show a drawing in a label, now and after the scheme changes."""

        def draw() -> None:
            drawing = icons.icon(name, getattr(self.theme.colors, color))
            label.setPixmap(drawing.pixmap(QSize(size, size), label.devicePixelRatioF()))

        draw()
        self._follow(label, draw)

    def _follow(self, widget: QWidget, draw: Callable[[], None]) -> None:
        """Redraw when the scheme changes, as long as the widget lives and shows this drawing."""
        old = widget.findChild(_Follower)
        if old:
            old.end()
        _Follower(widget, self.theme, draw)


class _Follower(QObject):
    """A child of a widget, so that the connection to the theme ends with the widget."""

    def __init__(self, widget: QWidget, theme: Theme, draw: Callable[[], None]) -> None:
        super().__init__(widget)
        self._draw = draw
        theme.changed.connect(self._redraw)

    def _redraw(self) -> None:
        self._draw()

    def end(self) -> None:
        self.setParent(None)
        self.deleteLater()
