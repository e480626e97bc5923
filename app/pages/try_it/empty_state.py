"""What is shown where there is no image yet."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QMenu, QVBoxLayout

from app.context import Context
from app.pages.try_it.opening import OpenButton
from app.theme import SPACE
from app.widgets import build

_PICTURE_PX = 48


class EmptyState(QFrame):
    """Invites to drop an image, to open one, or to take a sample."""

    def __init__(self, context: Context, opening: OpenButton) -> None:
        super().__init__()
        self.setObjectName("panel")
        self._opening = opening
        picture = QLabel()
        context.set_picture(picture, "image", "muted", _PICTURE_PX)
        title = build.label("Drop an image here", "heading")
        kinds = build.label("TIFF, OME-TIFF, ND2, PNG or JPEG", "muted")
        open_button = build.button("Open an image ...", opening.browse, role="primary")
        self._samples = build.button("Use a sample")
        menu = QMenu(self._samples)
        menu.aboutToShow.connect(self._fill)
        self._samples.setMenu(menu)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE)
        buttons.addStretch(1)
        buttons.addWidget(open_button)
        buttons.addWidget(self._samples)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setSpacing(SPACE)
        layout.addStretch(1)
        for label in (picture, title, kinds):
            layout.addWidget(label, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addSpacing(SPACE)
        layout.addLayout(buttons)
        layout.addStretch(1)

    def _fill(self) -> None:
        menu = self._samples.menu()
        menu.clear()
        self._opening.add_samples(menu)
