"""A paragraph that can be selected, and that breaks long words such as paths."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent, QTextOption
from PySide6.QtWidgets import QFrame, QSizePolicy, QTextEdit


class Text(QTextEdit):
    """Plain text as high as it needs; a label would ask for the width of its longest word."""

    def __init__(self, text: str = "", style: str = "text") -> None:
        super().__init__()
        self.setObjectName(style)
        self.setReadOnly(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setProperty("plain", True)
        self.document().setDocumentMargin(0)
        self.set_text(text)

    def set_text(self, text: str) -> None:
        """Show another text."""
        self.setPlainText(text)
        self.setAccessibleName(text)
        self._fit()

    def _fit(self) -> None:
        """Be as high as the text is at this width."""
        self.document().setTextWidth(self.viewport().width())
        self.setFixedHeight(max(1, round(self.document().size().height())))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Be as high as the text is at this width."""
        super().resizeEvent(event)
        self._fit()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for little: the layout gives the width."""
        return QSize(80, self.fontMetrics().height())
