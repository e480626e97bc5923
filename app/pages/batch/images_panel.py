"""The images of a batch: all of them, the results as they come, and those that failed."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QStackedWidget, QTabBar, QVBoxLayout, QWidget

from app.context import Context
from app.pages.batch.images_model import DONE, FAILED, UNUSABLE, ImagesModel
from app.pages.batch.images_table import AllTable, TroubledTable
from app.pages.batch.results_grid import KEPT, ResultsGrid
from app.theme import SPACE
from app.widgets import build

IMAGES, RESULTS, TROUBLED, EMPTY = range(4)
_TITLES = ("Images", "Results")
_INVITATION = (
    "Drop a folder of images here",
    "TIFF, OME-TIFF, ND2, PNG, JPEG or OME-Zarr; or a pipeline file (YAML)",
)
_PICTURE_PX = 48


class ImagesPanel(QWidget):
    """A panel with tabs; it invites to drop a folder where there is none."""

    opened = Signal(object)  # Path
    browse = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self.images = ImagesModel(context.theme)
        self.images.setParent(self)
        self.all = AllTable(self.images)
        self.grid = ResultsGrid(context)
        self.troubled = TroubledTable(self.images)
        self.nothing = build.label(style="heading")
        self.why = build.label(style="muted", wrap=True, selectable=True)
        self.choose = build.button("Choose a folder ...", self.browse.emit, role="primary")
        self.told = build.label(style="muted")
        self._lay_out()
        for view in (self.all, self.grid, self.troubled):
            view.opened.connect(self.opened)
        self.tabs.currentChanged.connect(self._show)
        self.images.counted.connect(self._count)
        self.grid.grown.connect(self._count)
        self.show_nothing(*_INVITATION)
        self._count()

    def _lay_out(self) -> None:
        self.tabs = QTabBar()
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        self.tabs.setAccessibleName("What is shown of the images")
        for title in (*_TITLES, ""):
            self.tabs.addTab(title)
        self._stack = QStackedWidget()
        for widget in (self.all, self.grid, self.troubled, self._empty()):
            self._stack.addWidget(widget)
        head = QHBoxLayout()
        head.addWidget(self.tabs)
        head.addStretch(1)
        head.addWidget(self.told)
        card = build.frame("card", "Images")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(SPACE + 4, SPACE, SPACE + 4, SPACE + 4)
        inside.setSpacing(SPACE)
        inside.addLayout(head)
        inside.addWidget(self._stack, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(card)

    def _empty(self) -> QWidget:
        made = QWidget()
        picture = QLabel()
        self._context.set_picture(picture, "batch", "muted", _PICTURE_PX)
        self.why.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        layout = QVBoxLayout(made)
        layout.setSpacing(SPACE)
        layout.addStretch(1)
        for label in (picture, self.nothing):
            layout.addWidget(label, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addWidget(self.why)
        layout.addSpacing(SPACE)
        layout.addWidget(self.choose, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(1)
        return made

    # ---- what is shown --------------------------------------------------------------------------

    def invite(self, lack: str = "") -> None:
        """Show no images, and say how there will be some; `lack` is what else must be entered."""
        self.images.set_files((), Path())
        if lack:
            self.show_nothing(lack, "", choose=False)
        else:
            self.show_nothing(*_INVITATION)

    def show_nothing(self, title: str, why: str, *, choose: bool = True) -> None:
        """Say what is shown as long as there are no images."""
        self.nothing.setText(title)
        self.why.setText(why)
        self.why.setVisible(bool(why))
        self.choose.setVisible(choose)

    def show_tab(self, tab: int) -> None:
        """Show one of the tabs."""
        self.tabs.setCurrentIndex(tab)

    @property
    def tab(self) -> int:
        """The tab that is shown."""
        return self.tabs.currentIndex()

    def _show(self, _tab: int = 0) -> None:
        tab = self.tabs.currentIndex()
        is_empty = tab == IMAGES and not self.images.rows
        self._stack.setCurrentIndex(EMPTY if is_empty else tab)
        self._tell()

    def _count(self) -> None:
        images = self.images
        results = max(images.count(DONE), len(self.grid.results.results))
        counts = (len(images.rows), results, images.count(FAILED, UNUSABLE))
        last = "Failed" if images.count(FAILED) else "Cannot be used"
        for tab, (title, count) in enumerate(zip((*_TITLES, last), counts, strict=True)):
            text = f"{title} ({count:,})" if count else title
            if self.tabs.tabText(tab) != text:
                self.tabs.setTabText(tab, text)
        has_any = bool(images.rows)
        self.tabs.setVisible(has_any)
        for tab, count in ((RESULTS, results), (TROUBLED, counts[TROUBLED])):
            self.tabs.setTabVisible(tab, bool(count) or self.tab == tab)
        if not has_any and self.tab != IMAGES:
            self.show_tab(IMAGES)
        self._show()

    def _tell(self) -> None:
        is_full = self.tab == RESULTS and len(self.grid.results.results) == KEPT
        self.told.setText(f"The last {KEPT} pictures" if is_full else "")
