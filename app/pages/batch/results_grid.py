"""Small pictures of the results, as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QSize, Qt, Signal
from PySide6.QtGui import QIcon, QImage, QPixmap
from PySide6.QtWidgets import QFrame, QListView

from app.context import Context
from app.pages.batch.images_model import objects
from app.pages.batch.pictures import Sources
from app.theme import SPACE
from envmanager.pipelines.records import ImageRecord

_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
KEPT = 240  # pictures; 200 kB each
_SHOWN_PX = 168
_PLAIN = "QListView { border: none; padding: 0; background: transparent; }"


@dataclass(frozen=True, eq=False)
class Result:
    """An image that is done; without a picture where none can be made."""

    path: Path
    text: str
    picture: QIcon


class ResultsModel(QAbstractListModel):
    """The last results, the newest at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.results: deque[Result] = deque()

    def clear(self) -> None:
        """Forget all."""
        self.beginResetModel()
        self.results.clear()
        self.endResetModel()

    def add(self, result: Result) -> None:
        """Add one; the oldest goes where there are too many."""
        if len(self.results) >= KEPT:
            self.beginRemoveRows(_NOWHERE, 0, 0)
            self.results.popleft()
            self.endRemoveRows()
        end = len(self.results)
        self.beginInsertRows(_NOWHERE, end, end)
        self.results.append(result)
        self.endInsertRows()

    def rowCount(self, parent: _Index = _NOWHERE) -> int:  # noqa: N802
        """Return how many there are."""
        return 0 if parent.isValid() else len(self.results)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return picture, text or tooltip."""
        result = self.results[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return result.text
            case Qt.ItemDataRole.DecorationRole:
                return result.picture
            case Qt.ItemDataRole.ToolTipRole:
                return str(result.path)
        return None


class ResultsGrid(QListView):
    """Asks for pictures one after the other, so that the run keeps the computer."""

    opened = Signal(object)  # Path
    grown = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._sources: Sources | None = None
        self._waiting: deque[ImageRecord] = deque(maxlen=KEPT)
        self._is_busy = False
        self.results = ResultsModel()
        self.setModel(self.results)
        self.setAccessibleName("Results")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setStyleSheet(_PLAIN)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(_SHOWN_PX, _SHOWN_PX))
        lines = 2 * self.fontMetrics().lineSpacing()
        self.setGridSize(QSize(_SHOWN_PX + 2 * SPACE, _SHOWN_PX + lines + 2 * SPACE))
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.activated.connect(self._open)

    def begin(self, sources: Sources) -> None:
        """Show the results of another run."""
        self._sources = sources
        self._waiting.clear()
        self.results.clear()
        self.grown.emit()

    def add(self, record: ImageRecord) -> None:
        """Show a result, as soon as its picture is made."""
        self._waiting.append(record)
        self._next()

    @property
    def is_complete(self) -> bool:
        """Whether no picture is being made any more."""
        return not self._waiting and not self._is_busy

    def _next(self) -> None:
        if self._is_busy or not self._waiting or self._sources is None:
            return
        self._is_busy = True
        record, sources = self._waiting.popleft(), self._sources
        make: Callable[[], QImage | None] = partial(sources.picture, record)
        take, fail = partial(self._take, record, sources), partial(self._fail, record, sources)
        self._context.background.ask(make, take, fail, owner=self)

    def _fail(self, record: ImageRecord, sources: Sources, _error: object) -> None:
        self._take(record, sources, None)

    def _take(self, record: ImageRecord, sources: Sources, picture: QImage | None) -> None:
        self._is_busy = False
        if sources is self._sources:
            bar = self.verticalScrollBar()
            is_at_end = bar.value() >= bar.maximum()
            pixmap = QPixmap.fromImage(picture) if picture else QPixmap()
            text = f"{Path(record.input).name}\n{objects(record)}"
            self.results.add(Result(Path(record.input), text, QIcon(pixmap)))
            if is_at_end:  # who has scrolled up wants to look
                self.scrollToBottom()
            self.grown.emit()
        self._next()

    def _open(self, index: QModelIndex) -> None:
        self.opened.emit(self.results.results[index.row()].path)
