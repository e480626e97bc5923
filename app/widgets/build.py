"""Makes labels and buttons in the app's styles; every control gets a name for screen readers.

Buttons take the focus by the keyboard only, so that a click leaves no border of the focus behind.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QFrame, QLabel, QPushButton, QToolButton

SELECTABLE = (
    Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
)


def label(
    text: str = "", style: str = "", *, wrap: bool = False, selectable: bool = False
) -> QLabel:
    """Return a label; `style` is an object name of the style sheet: title, heading, muted."""
    made = QLabel(text)
    made.setObjectName(style)
    made.setWordWrap(wrap)
    if selectable:
        made.setTextInteractionFlags(SELECTABLE)
    return made


def set_tone(widget: QFrame, tone: str) -> None:
    """Give a label or frame the colour of success, warning, danger, accent, or none."""
    widget.setProperty("tone", tone)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def frame(style: str = "panel", name: str = "") -> QFrame:
    """Return a frame in a style of the style sheet: card, panel."""
    made = QFrame()
    made.setObjectName(style)
    made.setAccessibleName(name)
    return made


def button(
    text: str,
    clicked: Callable[[], object] | None = None,
    *,
    role: str = "",
    tip: str = "",
    checkable: bool = False,
) -> QPushButton:
    """Return a button with a text; `role` is primary, quiet or none."""
    made = QPushButton(text)
    made.setProperty("role", role)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if clicked:
        made.clicked.connect(lambda _checked=False: clicked())
    return made


def tool(name: str, clicked: Callable[[], object] | None = None, *, tip: str = "") -> QToolButton:
    """Return a button with a drawing only; `name` is what screen readers say."""
    made = QToolButton()
    made.setAccessibleName(name)
    made.setToolTip(tip or name)
    made.setIconSize(QSize(20, 20))
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if clicked:
        made.clicked.connect(lambda _checked=False: clicked())
    return made
