"""Colours a Python script: keywords, texts, comments, numbers, and the names of functions."""

from __future__ import annotations

import keyword
import re

from PySide6.QtGui import QColor, QFont, QSyntaxHighlighter, QTextCharFormat, QTextDocument

from app.theme import Theme

_TOKEN = re.compile(
    r"""(?P<comment>\#.*)
    | (?P<block>\"\"\")
    | (?P<text>"(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*')
    | (?P<number>\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b)
    | (?P<name>\b[^\W\d]\w*\b)""",
    re.VERBOSE,
)
_END = '"""'
_COLORS = {"comment": "muted", "text": "success", "number": "warning", "keyword": "accent"}
_PLAIN, _IN_TEXT = 0, 1  # states of a line: whether it ends inside of a long text


class PythonHighlighter(QSyntaxHighlighter):
    """Belongs to a document; takes the theme's colours, also later ones."""

    def __init__(self, document: QTextDocument, theme: Theme) -> None:
        super().__init__(document)
        self._theme = theme
        self._formats: dict[str, QTextCharFormat] = {}
        self._take_colors()
        theme.changed.connect(self._recolor)

    def _recolor(self) -> None:
        self._take_colors()
        self.rehighlight()

    def _take_colors(self) -> None:
        for kind, color in _COLORS.items():
            made = QTextCharFormat()
            made.setForeground(QColor(getattr(self._theme.colors, color)))
            self._formats[kind] = made
        self._formats["defined"] = QTextCharFormat()
        self._formats["defined"].setFontWeight(QFont.Weight.Bold)

    def highlightBlock(self, text: str) -> None:  # noqa: N802
        """Colour one line."""
        self.setCurrentBlockState(_PLAIN)
        start = 0
        if self.previousBlockState() == _IN_TEXT:
            start = self._long_text(text, 0, 0)
        defines = False
        while found := _TOKEN.search(text, start):
            kind, word = str(found.lastgroup), found.group()
            start = found.end()
            if kind == "block":
                start = self._long_text(text, found.start(), found.end())
                continue
            if kind == "name":
                kind = "keyword" if keyword.iskeyword(word) else "defined" if defines else ""
                defines = word in ("def", "class")
            if kind:
                self.setFormat(found.start(), len(word), self._formats[kind])

    def _long_text(self, text: str, start: int, inside: int) -> int:
        """Colour what begins at `start`, and return where it ends."""
        end = text.find(_END, inside)
        if end < 0:
            self.setCurrentBlockState(_IN_TEXT)
        stop = len(text) if end < 0 else end + len(_END)
        self.setFormat(start, stop - start, self._formats["text"])
        return stop
