"""Channels in sight, their colours and contrast: a list, a histogram, fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from app.context import Context
from app.theme import SPACE
from app.viewer.coloring import Color, Shade
from app.viewer.display import COLORS, Display
from app.viewer.histogram import Histogram
from app.viewer.number_field import NumberField
from app.viewer.statistics import AUTO, Statistics
from app.widgets import build

_LIST_PX = 148
_FIELDS_PX = 268
_SWATCH_PX = 14
_HEIGHT_PX = 124


class ContrastBar(QFrame):
    """Sets a `Display`; `display` is the present one."""

    changed = Signal(object)  # Display, by the user

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("panel")
        self._context = context
        self.display = Display()
        self._statistics: Sequence[Statistics] = ()
        self.channels = QListWidget()
        self.channels.setAccessibleName("Channels")
        self.channels.setToolTip("Tick the channels to show; choose one to set its contrast")
        self.channels.setIconSize(QSize(_SWATCH_PX, _SWATCH_PX))
        self.channels.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.channels.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.gray = QCheckBox("Gray, one channel")
        self.gray.setToolTip("Show only the chosen channel, from black to white")
        self.histogram = Histogram(context.theme)
        self.low, self.high = (_field(name) for name in ("Black at", "Full colour at"))
        self.percentiles = (
            _percent("Lower percentile", AUTO[0]),
            _percent("Upper percentile", AUTO[1]),
        )
        self.auto = build.button("Auto", self._auto, tip="Set the contrast by these percentiles")
        self.full = build.button(
            "Full range", self._full, tip="From the darkest to the brightest pixel"
        )
        self.color = build.button("Colour", tip="Colour of the chosen channel")
        self._lay_out()
        self._connect()
        self.setEnabled(False)

    # ---- for others -----------------------------------------------------------------------------

    def show_display(self, display: Display, statistics: Sequence[Statistics]) -> None:
        """Show how an image is displayed, and its statistics."""
        self.display, self._statistics = display, statistics
        self.setEnabled(bool(display.shades))
        self._fill_list()
        self._show_chosen()

    def set_statistics(self, statistics: Sequence[Statistics]) -> None:
        """Take the statistics of another plane; the contrast stays as it is."""
        self._statistics = statistics
        self._show_chosen()

    # ---- the frame ------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.setFixedHeight(_HEIGHT_PX)
        left = QWidget()
        left.setFixedWidth(_LIST_PX)
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE // 2)
        column.addWidget(self.channels, 1)
        column.addWidget(self.gray)
        right = QWidget()
        right.setFixedWidth(_FIELDS_PX)
        fields = QGridLayout(right)
        fields.setContentsMargins(0, 0, 0, 0)
        fields.setHorizontalSpacing(SPACE)
        fields.setVerticalSpacing(SPACE // 2)
        fields.addWidget(build.label("Range", "muted"), 0, 0)
        fields.addWidget(self.low, 0, 1)
        fields.addWidget(self.high, 0, 2)
        fields.addWidget(build.label("Percentiles", "muted"), 1, 0)
        fields.addWidget(self.percentiles[0], 1, 1)
        fields.addWidget(self.percentiles[1], 1, 2)
        for column_number, button in enumerate((self.color, self.auto, self.full)):
            fields.addWidget(button, 2, column_number)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(SPACE, SPACE, SPACE, SPACE)
        layout.setSpacing(2 * SPACE)
        layout.addWidget(left)
        layout.addWidget(self.histogram, 1)
        layout.addWidget(right)

    def _connect(self) -> None:
        self.channels.currentRowChanged.connect(self._choose)
        self.channels.itemChanged.connect(self._tick)
        self.gray.toggled.connect(self._set_gray)
        self.histogram.limits_changed.connect(self._set_limits)
        self.low.edited.connect(self._take_fields)
        self.high.edited.connect(self._take_fields)
        for field in self.percentiles:
            field.edited.connect(self._auto)
        menu = QMenu(self.color)
        for name, color in COLORS.items():
            action = menu.addAction(_swatch(color), name)
            action.setData(name)
        menu.triggered.connect(lambda action: self._set_color(COLORS[action.data()]))
        self.color.setMenu(menu)

    # ---- showing --------------------------------------------------------------------------------

    def _fill_list(self) -> None:
        self.channels.blockSignals(True)
        self.channels.clear()
        for name, shade in zip(self.display.names, self.display.shades, strict=True):
            item = QListWidgetItem(_swatch(shade.color), name)
            item.setToolTip(name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            state = Qt.CheckState.Checked if shade.visible else Qt.CheckState.Unchecked
            item.setCheckState(state)
            self.channels.addItem(item)
        self.channels.setCurrentRow(self.display.chosen)
        self.channels.blockSignals(False)
        self.gray.blockSignals(True)
        self.gray.setChecked(self.display.gray)
        self.gray.blockSignals(False)
        self.gray.setVisible(len(self.display.shades) > 1)

    def _show_chosen(self) -> None:
        shade = self._shade()
        if shade is None:
            self.histogram.show_channel(None, (0.0, 1.0), QColor())
            return
        found = self._found()
        self.histogram.show_channel(found, (shade.low, shade.high), QColor(*shade.color))
        decimals = _decimals(found)
        for field, value in ((self.low, shade.low), (self.high, shade.high)):
            field.set_value(value, decimals)

    def _shade(self) -> Shade | None:
        return self.display.shades[self.display.chosen] if self.display.shades else None

    def _found(self) -> Statistics | None:
        return self._statistics[self.display.chosen] if self._statistics else None

    # ---- the user -------------------------------------------------------------------------------

    def _take(self, display: Display) -> None:
        if display != self.display:
            self.display = display
            self._show_chosen()
            self.changed.emit(display)

    def _change(self, shade: Shade) -> None:
        self._take(self.display.with_shade(self.display.chosen, shade))

    def _choose(self, row: int) -> None:
        if 0 <= row < len(self.display.shades):
            self._take(replace(self.display, chosen=row))

    def _tick(self, item: QListWidgetItem) -> None:
        row = self.channels.row(item)
        visible = item.checkState() == Qt.CheckState.Checked
        shade = replace(self.display.shades[row], visible=visible)
        self._take(self.display.with_shade(row, shade))

    def _set_gray(self, gray: bool) -> None:
        self._take(replace(self.display, gray=gray))

    def _set_limits(self, low: float, high: float) -> None:
        if shade := self._shade():
            self._change(replace(shade, low=low, high=high))

    def _take_fields(self) -> None:
        low, high = self.low.value(), self.high.value()
        self._set_limits(low, high if high > low else low + 10.0**-self.low.decimals)

    def _auto(self) -> None:
        lower, upper = (field.value() for field in self.percentiles)
        if (found := self._found()) and lower < upper:
            self._set_limits(*found.percentiles(lower, upper))

    def _full(self) -> None:
        if found := self._found():
            self._set_limits(found.low, found.high)

    def _set_color(self, color: Color) -> None:
        if shade := self._shade():
            self._change(replace(shade, color=color))
            self.channels.currentItem().setIcon(_swatch(color))


def _field(name: str) -> NumberField:
    return NumberField(name, -1e12, 1e12)


def _percent(name: str, value: float) -> NumberField:
    field = NumberField(name, 0, 100, " %")
    field.set_value(value, decimals=1)
    return field


def _decimals(found: Statistics | None) -> int:
    """Return how many decimals an intensity needs: none for whole numbers of cameras."""
    if found is None or found.high - found.low > 50:
        return 0
    return 2 if found.high - found.low > 0.5 else 5


def _swatch(color: Color) -> QIcon:
    pixmap = QPixmap(_SWATCH_PX * 2, _SWATCH_PX * 2)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(*color))
    painter.setPen(QColor(128, 128, 128))
    painter.drawEllipse(2, 2, 2 * _SWATCH_PX - 5, 2 * _SWATCH_PX - 5)
    painter.end()
    return QIcon(pixmap)
