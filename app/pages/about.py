"""What this program is: version, licence, and the libraries that it is made of."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPlainTextEdit, QVBoxLayout

from app import icons
from app.context import Context
from app.pages.page import Page
from app.theme import SPACE
from app.widgets import build, tables
from app.widgets.scrolling import scrolled
from ga3_nodes import __version__

_PICTURE_PX = 72
_LICENCE_PX = 220
_USED = (
    "PySide6_Essentials superqt numpy tifffile imagecodecs nd2 pillow roifile psutil packaging "
    "rich tomlkit urllib3 certifi truststore nvidia-ml-py"
).split()


@dataclass(frozen=True)
class About:
    """What the page shows; read from files, in the background."""

    licence: str
    libraries: tuple[tuple[str, str, str], ...]


class AboutPage(Page):
    """A page rather than a box in the way; all of it can be copied."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "About")
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setAccessibleName("Licence")
        self.text.setMinimumHeight(_LICENCE_PX)
        self._libraries = QVBoxLayout()
        layout = QVBoxLayout()
        layout.setContentsMargins(0, 0, SPACE, 0)
        layout.setSpacing(SPACE + 4)
        layout.addWidget(self._head_panel())
        layout.addWidget(build.label("Licence", "heading"))
        layout.addWidget(self.text)
        layout.addWidget(build.label("Made with", "heading"))
        layout.addLayout(self._libraries)
        layout.addStretch(1)
        self.body.addWidget(scrolled(layout))
        context.background.ask(read, self._show, context.shell.tell_error, owner=self)

    def _head_panel(self) -> QFrame:
        picture = QLabel()
        picture.setPixmap(icons.application().pixmap(_PICTURE_PX, _PICTURE_PX))
        text = QVBoxLayout()
        text.setSpacing(4)
        text.addWidget(build.label("GA3 Environment Manager", "heading", selectable=True))
        version = f"Version {__version__}, on Python {platform.python_version()}"
        text.addWidget(build.label(version, selectable=True))
        told = "AI segmentation for NIS-Elements without breaking NIS-Elements."
        text.addWidget(build.label(told, "muted", selectable=True))
        panel = build.frame("panel")
        layout = QHBoxLayout(panel)
        layout.setContentsMargins(2 * SPACE, 2 * SPACE, 2 * SPACE, 2 * SPACE)
        layout.setSpacing(2 * SPACE)
        layout.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(text, 1)
        return panel

    def _show(self, found: About) -> None:
        self.text.setPlainText(found.licence)
        made = tables.table(("Library", "Version", "Licence"), found.libraries, all_rows=True)
        made.setAccessibleName("Libraries")
        self._libraries.addWidget(made)


def read() -> About:
    """Read the licence and what is installed; not in the GUI thread."""
    from importlib import metadata

    from envmanager.data.paths import APP

    found = []
    for name in _USED:
        try:
            told = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue  # such as the driver's library, on a computer that lacks it
        found.append((told["Name"], told["Version"], _licence(told)))
    return About((APP / "LICENSE").read_text("utf-8"), tuple(found))


def _licence(told: object) -> str:
    """Return the licence in one line: the expression, else the classifiers, else the field."""
    values = dict(getattr(told, "items")())  # noqa: B009 - a Message, or newer a PackageMetadata
    if expression := values.get("License-Expression"):
        return str(expression)
    classifiers = getattr(told, "get_all")("Classifier") or []  # noqa: B009
    named = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License ::")]
    return ", ".join(named) or str(values.get("License") or "").partition("\n")[0]
