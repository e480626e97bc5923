"""The line over the image: open, name, overlay, zoom."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSizePolicy, QSlider, QToolButton, QWidget

from app.context import Context
from app.pages.try_it.opening import OpenButton
from app.theme import SPACE
from app.viewer.canvas import Canvas
from app.widgets import build

_OPACITY_PX = 84
_PERCENTS = (25, 50, 100, 200, 400, 800)
# Per cent: areas let the image through, outlines are thin.
_AREAS, _OUTLINES = 50, 100


class Toolbar(QWidget):
    """Buttons of the image view. What concerns labels is there only where there are some."""

    outlines_toggled = Signal(bool)
    opacity_changed = Signal(float)  # 0 to 1
    labels_toggled = Signal(bool)
    contrast_toggled = Signal(bool)

    def __init__(self, context: Context, canvas: Canvas) -> None:
        super().__init__()
        self._canvas = canvas
        self.opening = OpenButton(context)
        self.name = build.label(selectable=True)
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.eye = _toggle(context, "eye", "Show the objects", on=True)
        self.outline = _toggle(context, "outline", "Outlines instead of coloured areas")
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setAccessibleName("Opacity of the objects")
        self.opacity.setToolTip("Opacity of the objects")
        self.opacity.setRange(0, 100)
        self.opacity.setValue(_AREAS)
        self._other_opacity = _OUTLINES
        self.opacity.setFixedWidth(_OPACITY_PX)
        self.percent = QToolButton()
        self.contrast = _toggle(context, "contrast", "Channels and contrast", on=True)
        self._lay_out(context)
        self.eye.toggled.connect(self.labels_toggled)
        self.outline.toggled.connect(self._toggle_outlines)
        self.opacity.valueChanged.connect(lambda value: self.opacity_changed.emit(value / 100))
        self.contrast.toggled.connect(self.contrast_toggled)
        canvas.view.changed.connect(self._show_zoom)
        self.set_state(has_image=False, has_labels=False)

    def set_state(self, *, has_image: bool, has_labels: bool) -> None:
        """Show what there is a use for."""
        self._zoom.setVisible(has_image)
        self._labels.setVisible(has_image and has_labels)

    def set_name(self, name: str, description: str) -> None:
        """Show the name of the image; what it is comes as a tooltip."""
        self.name.setText(name)
        self.name.setToolTip(f"{name}\n{description}")

    def _lay_out(self, context: Context) -> None:
        self._labels = _group(self.eye, self.outline, self.opacity)
        canvas = self._canvas
        out = build.tool("Zoom out", canvas.zoom_out, tip="Zoom out (-)")
        into = build.tool("Zoom in", canvas.zoom_in, tip="Zoom in (+)")
        fit = build.tool("Fit the whole image", canvas.fit, tip="Fit the whole image (0)")
        for button, icon in ((out, "minus"), (into, "add"), (fit, "fit")):
            context.set_icon(button, icon)
        self.percent.setAccessibleName("Zoom")
        self.percent.setToolTip("Zoom")
        self.percent.setText("100 %")
        self.percent.setFixedWidth(self.percent.fontMetrics().horizontalAdvance("6400 %") + 16)
        self.percent.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.percent)
        for percent in _PERCENTS:
            action = menu.addAction(f"{percent} %")
            action.triggered.connect(lambda _=False, z=percent / 100: canvas.set_zoom(z))
        self.percent.setMenu(menu)
        one = QToolButton()
        one.setText("1:1")
        one.setAccessibleName("A pixel of the image on a pixel of the screen")
        one.setToolTip("A pixel of the image on a pixel of the screen (1)")
        one.clicked.connect(lambda _=False: canvas.set_zoom(1.0))
        self._zoom = _group(out, self.percent, into, fit, one, self.contrast)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE)
        layout.addWidget(self.opening)
        layout.addWidget(self.name, 1)
        layout.addWidget(self._labels)
        layout.addWidget(self._zoom)

    def _toggle_outlines(self, on: bool) -> None:
        """Outlines and areas have an opacity each."""
        kept, self._other_opacity = self._other_opacity, self.opacity.value()
        self.opacity.setValue(kept)
        self.outlines_toggled.emit(on)

    def _show_zoom(self) -> None:
        percent = self._canvas.zoom * 100
        self.percent.setText(f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %")


def _toggle(context: Context, icon: str, name: str, *, on: bool = False) -> QToolButton:
    button = build.tool(name)
    context.set_icon(button, icon)
    button.setCheckable(True)
    button.setChecked(on)
    return button


def _group(*widgets: QWidget) -> QWidget:
    group = QWidget()
    layout = QHBoxLayout(group)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(2)
    for widget in widgets:
        layout.addWidget(widget)
    return group
