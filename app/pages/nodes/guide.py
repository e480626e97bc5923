"""How to bring the script into NIS-Elements, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from app.context import Context
from app.pages.nodes.pictures import Sketch
from app.theme import SPACE
from app.widgets import build
from envmanager import nodes

_NUMBER_PX = 20
_MODES = {
    6: (
        "Let NIS run it itself",
        "Leave “Run out of process” as it is, off. It works either way; off, Abort is quicker. "
        "Nothing has to be installed in NIS.",
    ),
    7: (
        "Choose NIS's internal Python",
        "Take “Internal Python”. The script needs nothing more: the module has an environment of "
        "its own, beside those that NIS manages.",
    ),
}


class Guide(QWidget):
    """Numbered steps with sketches, for one version of NIS and one function."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._shown: object = None
        self.titles: list[str] = []
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._scroll)

    def show_steps(self, nis: int, spec: Mapping[str, Any], binary: str) -> None:
        """Show the steps for a version of NIS, with the ports of a function."""
        if (nis, spec, binary) == self._shown:
            return
        self._shown, self.titles = (nis, spec, binary), []
        inside = QWidget()
        inside.setObjectName("content")
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, SPACE, 0)
        column.setSpacing(2 * SPACE)
        ports = len(spec["inputs"]), len(spec["outputs"])
        for kind, title, text in _steps(nis, spec, binary):
            self.titles.append(title)
            sketch = Sketch(kind, self._context, ports)
            column.addWidget(_step(len(self.titles), sketch, title, text))
        column.addStretch(1)
        self._scroll.setWidget(inside)


def _step(number: int, sketch: Sketch, title: str, text: str) -> QWidget:
    step = QWidget()
    count = build.label(str(number), "heading")
    count.setFixedWidth(_NUMBER_PX)
    build.set_tone(count, "accent")
    words = QVBoxLayout()
    words.setSpacing(SPACE // 2)
    words.addWidget(build.label(title, "heading", wrap=True))
    words.addWidget(build.label(text, wrap=True, selectable=True))
    words.addStretch(1)
    layout = QHBoxLayout(step)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(2 * SPACE)
    layout.addWidget(sketch, 0, Qt.AlignmentFlag.AlignTop)
    layout.addWidget(count, 0, Qt.AlignmentFlag.AlignTop)
    layout.addLayout(words, 1)
    return step


def _steps(nis: int, spec: Mapping[str, Any], binary: str) -> list[tuple[str, str, str]]:
    """Return for each step its sketch, its title and what to do."""
    return [
        (
            "copy",
            "Copy the script",
            "Press “Copy script” above. The whole text is then on the clipboard.",
        ),
        (
            "graph",
            "Add a Python node to your GA3 recipe",
            "Open the GA3 editor in NIS-Elements and add the Python node: the 2D one for single "
            "images, the 3D one for z-stacks. Connect your image to its input. NIS's help tells of "
            "the node in “ND Processing & Conversions”, “Python Scripting”.",
        ),
        ("ports", "Set up its inputs and outputs", _ports(spec, binary)),
        (
            "paste",
            "Paste the script",
            "Open the node's dialog, select all that stands in its script field (Ctrl+A), and "
            "paste (Ctrl+V). Nothing of the old text may remain.",
        ),
        (f"mode {nis}", *_MODES[nis]),
        (
            "run",
            "Run it",
            "Close the dialog and run the recipe or its preview. The first image waits until the "
            "module is loaded, seconds or at times a minute; later images find it ready. To change "
            "a parameter, change its value in the script, or make a new script here.",
        ),
    ]


def _ports(spec: Mapping[str, Any], binary: str) -> str:
    lines = ["The node needs them in this order:"]
    lines += [f"•  {port[:1].upper()}{port[1:]}" for port in nodes.ports(spec, binary)]
    return "\n".join(lines)
