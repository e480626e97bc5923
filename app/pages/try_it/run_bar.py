"""Run and Cancel, and the two ways to go on from here: to NIS-Elements, and to a whole folder."""

from __future__ import annotations

from PySide6.QtCore import Signal

from app.context import Context
from app.widgets import build
from app.widgets.run_bar import RunBar as Bar


class RunBar(Bar):
    """The panel with the main button."""

    node = Signal()
    folder = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Run it on the image")
        self.on_folder = build.button("Run on a folder ...", self.folder.emit)
        self.on_folder.setToolTip("Run it on many images, with exactly these parameters")
        context.set_icon(self.on_folder, "batch")
        self.make_node = build.button("Make GA3 node", self.node.emit)
        self.make_node.setToolTip("A script for NIS-Elements with exactly these parameters")
        context.set_icon(self.make_node, "node")
        self.others.addWidget(self.on_folder, 1)
        self.others.addWidget(self.make_node, 1)
