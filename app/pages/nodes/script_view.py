"""The script: to be read and copied, not to be changed here."""

from __future__ import annotations

from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import QPlainTextEdit

from app.context import Context
from app.pages.nodes.highlighter import PythonHighlighter
from app.widgets import build


class ScriptView(QPlainTextEdit):
    """A read-only text that stays where it was scrolled to when it changes."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setTextInteractionFlags(build.SELECTABLE)
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setAccessibleName("Script of the node")
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.setPlaceholderText("The script appears here as soon as a module is chosen.")
        self._highlighter = PythonHighlighter(self.document(), context.theme)

    def show_script(self, text: str) -> None:
        """Show a script."""
        if text == self.toPlainText():
            return
        bars = self.verticalScrollBar(), self.horizontalScrollBar()
        places = [bar.value() for bar in bars]
        self.setPlainText(text)
        for bar, place in zip(bars, places, strict=True):
            bar.setValue(place)
