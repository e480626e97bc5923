"""The system page: the checklist at the left, what the computer has and holds at the right."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from app.context import Context
from app.pages.page import Page
from app.pages.system.checklist import Checklist
from app.pages.system.disk_panel import DiskPanel
from app.pages.system.gpu_panel import GpuPanel
from app.pages.system.support_panel import SupportPanel
from app.pages.system.vendor_panel import VendorPanel
from app.pages.system.workers_panel import WorkersPanel
from app.theme import SPACE

_LEFT, _RIGHT = 11, 9  # widths of the columns to one another
_WIDEST_PX = 1500


class SystemPage(Page):
    """What could keep modules from working here, and what takes memory and disk space."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "System")
        self.checklist = Checklist(context)
        self.gpus = GpuPanel(context)
        self.disk = DiskPanel(context)
        self.workers = WorkersPanel(context)
        self.vendor = VendorPanel(context)
        self.support = SupportPanel(context)
        inside = QWidget()
        inside.setObjectName("content")
        inside.setMaximumWidth(_WIDEST_PX)
        columns = QHBoxLayout(inside)
        columns.setContentsMargins(0, 0, SPACE, 0)
        columns.setSpacing(2 * SPACE)
        columns.addLayout(_column(self.checklist), _LEFT)
        right = (self.gpus, self.disk, self.workers, self.support, self.vendor)
        columns.addLayout(_column(*right), _RIGHT)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        self.body.addWidget(scroll)

    def visit(self, **hints: Any) -> None:
        """Read everything anew; the checklist runs at the first visit, or where asked for."""
        if hints.get("check") or not self.checklist.has_run:
            self.checklist.check()
        self.gpus.refresh()
        self.disk.refresh()
        self.vendor.refresh()
        self.workers.begin()

    def leave(self) -> None:
        """Ask for the workers no more."""
        self.workers.end()


def _column(*panels: QWidget) -> QVBoxLayout:
    column = QVBoxLayout()
    column.setSpacing(2 * SPACE)
    for panel in panels:
        column.addWidget(panel)
    column.addStretch(1)
    return column
