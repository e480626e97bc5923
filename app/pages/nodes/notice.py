"""One sentence on what the node lacks, with the button for the next step."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel

from app.context import Context
from app.theme import SPACE
from app.widgets import build


class NoticeBar(QFrame):
    """Hidden where there is nothing to say."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("message")
        build.set_tone(self, "warning")
        picture = QLabel()
        context.set_picture(picture, "warning", "warning")
        self._text = build.label(wrap=True, selectable=True)
        self._mend: Callable[[], object] | None = None
        self.button = build.button("", self._act)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE, SPACE, SPACE)
        layout.setSpacing(SPACE)
        layout.addWidget(picture, 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(self._text, 1)
        layout.addWidget(self.button)
        self.hide()

    @property
    def text(self) -> str:
        """What it says; empty where it is hidden."""
        return "" if self.isHidden() else self._text.text()

    def tell(self, text: str, action: str = "", mend: Callable[[], object] | None = None) -> None:
        """Say something in the place of the last; an empty text hides it."""
        self._text.setText(text)
        self._mend = mend
        self.button.setText(action)
        self.button.setVisible(bool(action))
        self.setVisible(bool(text))

    def _act(self) -> None:
        if self._mend:
            self._mend()
