"""Colours, spacing and the style sheet; light and dark follow the system."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

SPACE = 8  # px; distances are multiples of it
RADIUS = 8
_DRAWINGS = Path(__file__).resolve().parent.parent / "resources" / "style"


@dataclass(frozen=True)
class Colors:
    """The colours of one scheme, as ``#rrggbb``. Text on its ground has a contrast above 4.5."""

    window: str
    surface: str
    raised: str
    border: str
    text: str
    muted: str
    accent: str
    on_accent: str
    success: str
    warning: str
    danger: str
    selection: str


LIGHT = Colors(
    window="#f5f6f8",
    surface="#ffffff",
    raised="#eceff3",
    border="#d5dae1",
    text="#1d2129",
    muted="#59636f",
    accent="#1763c6",
    on_accent="#ffffff",
    success="#17713f",
    warning="#8a5a00",
    danger="#b62d25",
    selection="#dbe8fa",
)
DARK = Colors(
    window="#1a1d22",
    surface="#23272e",
    raised="#2d323a",
    border="#3c434d",
    text="#e6e9ee",
    muted="#a0a9b5",
    accent="#6aa8f7",
    on_accent="#0d1726",
    success="#55c98d",
    warning="#e5b645",
    danger="#f4857b",
    selection="#2b4468",
)

_STYLE = Template("""
QWidget { color: $text; }
QMainWindow, QDialog, #page { background: $window; }
QToolTip { background: $raised; color: $text; border: 1px solid $border; padding: 4px; }
#navigation { background: $surface; border-right: 1px solid $border; }
#navigation QToolButton {
    border: none; border-radius: 6px; padding: 9px 10px; text-align: left; color: $text;
}
#navigation QToolButton:hover { background: $raised; }
#navigation QToolButton:checked { background: $selection; color: $accent; font-weight: 600; }
#navigation QToolButton:focus { border: 1px solid $accent; }
#card, #panel { background: $surface; border: 1px solid $border; border-radius: ${radius}px; }
#card[chosen="true"], #card:focus { border: 1px solid $accent; }
#pill { background: $raised; color: $muted; border-radius: 4px; padding: 1px 6px; }
#title { font-size: 17pt; font-weight: 600; }
#heading { font-size: 12pt; font-weight: 600; }
#muted, #muted QLabel { color: $muted; }
QLabel[tone="success"] { color: $success; }
QLabel[tone="warning"] { color: $warning; }
QLabel[tone="danger"] { color: $danger; }
QLabel[tone="accent"] { color: $accent; }
QLabel[tone="muted"] { color: $muted; }
QPushButton {
    background: $raised; border: 1px solid $border; border-radius: 6px; padding: 6px 14px;
}
QPushButton:hover { border-color: $muted; }
QPushButton:focus { border-color: $accent; }
QPushButton:disabled { color: $muted; background: $window; }
QPushButton:checked { background: $selection; border-color: $accent; color: $accent; }
QPushButton[role="primary"] { background: $accent; color: $on_accent; border-color: $accent; }
QPushButton[role="primary"]:disabled { background: $raised; color: $muted; border-color: $border; }
QPushButton[role="primary"]:focus { border: 2px solid $text; padding: 5px 13px; }
QPushButton[role="quiet"], QToolButton { background: transparent; border: 1px solid transparent; }
QToolButton { border-radius: 6px; padding: 5px; }
QPushButton[role="quiet"]:hover, QToolButton:hover { background: $raised; }
QToolButton:focus { border: 1px solid $accent; }
QToolButton::menu-indicator { image: none; }
QLineEdit, QPlainTextEdit, QTextEdit, QSpinBox, QDoubleSpinBox, QComboBox, QListView, QTreeView,
QTableView {
    background: $surface; border: 1px solid $border; border-radius: 6px; padding: 4px 6px;
    selection-background-color: $accent; selection-color: $on_accent;
}
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus,
QComboBox:focus, QListView:focus, QTreeView:focus, QTableView:focus { border-color: $accent; }
QComboBox::drop-down { border: none; width: 26px; }
QComboBox::down-arrow { image: url("$drawings/down.svg"); width: 14px; height: 14px; }
QCheckBox::indicator {
    width: 15px; height: 15px; border: 1px solid $muted; border-radius: 4px; background: $surface;
}
QCheckBox::indicator:focus, QCheckBox::indicator:hover { border-color: $accent; }
QCheckBox::indicator:checked {
    background: $accent; border-color: $accent; image: url("$drawings/check-$scheme.svg");
}
QTextEdit[plain="true"] { background: transparent; border: none; padding: 0; }
QTextEdit#muted { color: $muted; }
QTextEdit[tone="danger"] { color: $danger; }
QTextEdit[tone="warning"] { color: $warning; }
QTextEdit[tone="success"] { color: $success; }
QHeaderView::section {
    background: $surface; color: $muted; border: none; border-bottom: 1px solid $border;
    padding: 4px 6px;
}
QProgressBar { background: $raised; border: none; border-radius: 3px; max-height: 6px; }
QProgressBar::chunk { background: $accent; border-radius: 3px; }
QScrollArea, QScrollArea > QWidget > QWidget#content { background: transparent; border: none; }
QTabWidget::pane { border: none; border-top: 1px solid $border; }
QTabBar::tab { padding: 7px 12px; color: $muted; border: none; }
QTabBar::tab:selected { color: $accent; border-bottom: 2px solid $accent; }
QMenu { background: $surface; border: 1px solid $border; padding: 4px; }
QMenu::item { padding: 6px 22px 6px 14px; border-radius: 4px; }
QMenu::item:selected { background: $selection; }
QMenu::item:disabled { color: $muted; }
QMenu::separator { height: 1px; background: $border; margin: 4px 8px; }
QSplitter::handle { background: $border; }
QScrollBar { background: transparent; border: none; margin: 0; }
QScrollBar:vertical { width: 10px; }
QScrollBar:horizontal { height: 10px; }
QScrollBar::handle { background: $border; border-radius: 4px; margin: 1px; }
QScrollBar::handle:hover { background: $muted; }
QScrollBar::handle:vertical { min-height: 28px; }
QScrollBar::handle:horizontal { min-width: 28px; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
#message { border-radius: 6px; border: 1px solid $border; background: $raised; }
#message[tone="danger"] { border-color: $danger; }
#message[tone="warning"] { border-color: $warning; }
#message[tone="success"] { border-color: $success; }
#activity { background: $surface; border-top: 1px solid $border; }
""")


class Theme(QObject):
    """The scheme in use; `changed` comes after the style was applied."""

    changed = Signal()

    def __init__(self, application: QApplication) -> None:
        super().__init__(application)
        self._application = application
        self.colors = LIGHT
        application.setStyle("Fusion")  # the same on every system, and it knows dark schemes
        QGuiApplication.styleHints().colorSchemeChanged.connect(self.apply)
        self.apply()

    def end(self) -> None:
        """Follow the system no longer."""
        QGuiApplication.styleHints().colorSchemeChanged.disconnect(self.apply)

    @property
    def is_dark(self) -> bool:
        """Whether the dark scheme is in use."""
        return self.colors is DARK

    def apply(self, scheme: Qt.ColorScheme | None = None) -> None:
        """Take a scheme; by default the system's, which `QStyleHints` knows."""
        scheme = scheme or QGuiApplication.styleHints().colorScheme()
        self.colors = DARK if scheme == Qt.ColorScheme.Dark else LIGHT
        self._application.setPalette(_palette(self.colors))
        name = "dark" if self.is_dark else "light"
        more = {"radius": RADIUS, "drawings": _DRAWINGS.as_posix(), "scheme": name}
        style = _STYLE.substitute(asdict(self.colors), **more)
        self._application.setStyleSheet(style)
        self.changed.emit()


def _palette(colors: Colors) -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette()
    for target, value in {
        role.Window: colors.window,
        role.WindowText: colors.text,
        role.Base: colors.surface,
        role.AlternateBase: colors.raised,
        role.Text: colors.text,
        role.PlaceholderText: colors.muted,
        role.Button: colors.raised,
        role.ButtonText: colors.text,
        role.ToolTipBase: colors.raised,
        role.ToolTipText: colors.text,
        role.Highlight: colors.accent,
        role.HighlightedText: colors.on_accent,
        role.Link: colors.accent,
        role.Mid: colors.border,
    }.items():
        palette.setColor(target, QColor(value))
    for target in (role.Text, role.ButtonText, role.WindowText):
        palette.setColor(QPalette.ColorGroup.Disabled, target, QColor(colors.muted))
    return palette
