"""The button that opens images: from a dialog, those of before, and samples."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSettings, Qt, Signal
from PySide6.QtWidgets import QFileDialog, QMenu, QToolButton

from app.context import Context
from envmanager import samples
from envmanager.data.paths import data_folder
from envmanager.reading.series import SUFFIXES
from envmanager.samples import Sample

_FOLDER, _RECENT = "try/folder", "try/recent"
_KEPT = 8


class OpenButton(QToolButton):
    """Open, with a menu of recent images and samples."""

    chosen = Signal(object)  # Path
    failed = Signal(object)  # GA3EnvError

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self.setText("Open")
        self.setAccessibleName("Open an image")
        self.setToolTip("Open an image (Ctrl+O)")
        self.setShortcut("Ctrl+O")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        context.set_icon(self, "folder")
        self._samples: tuple[Sample, ...] = (samples.NUCLEI, samples.SERIES)
        self._sample_paths: set[Path] = set()
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(self._fill)
        self.setMenu(menu)
        self.clicked.connect(self.browse)
        self._ask_for_samples()

    # ---- the dialog -----------------------------------------------------------------------------

    def browse(self) -> None:
        """Let the user choose a file, beginning in the folder of the last one."""
        path = self.choose_file(str(QSettings().value(_FOLDER, "")))
        if path:
            self.chosen.emit(path)

    def choose_file(self, folder: str) -> Path | None:
        """Show the system's dialog."""
        known = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        kinds = f"Images ({known});;All files (*)"
        name, _ = QFileDialog.getOpenFileName(self, "Open an image", folder, kinds)
        return Path(name) if name else None

    # ---- what was opened before -----------------------------------------------------------------

    def remember(self, path: Path) -> None:
        """Put an image on top of the recent ones."""
        if path in self._sample_paths:
            return
        settings = QSettings()
        settings.setValue(_FOLDER, str(path.parent))
        others = [name for name in self.recent() if name != str(path)]
        settings.setValue(_RECENT, [str(path), *others][:_KEPT])

    def forget(self, path: Path) -> None:
        """Take an image that cannot be opened from the recent ones."""
        QSettings().setValue(_RECENT, [name for name in self.recent() if name != str(path)])

    @staticmethod
    def recent() -> list[str]:
        """Return the paths of recent images, the last one first."""
        kept = QSettings().value(_RECENT, [])
        if isinstance(kept, str):  # Qt unpacks a list of one
            return [kept]
        return [str(name) for name in kept] if isinstance(kept, list) else []

    # ---- the menu -------------------------------------------------------------------------------

    def _ask_for_samples(self) -> None:
        def take(found: tuple[Sample, ...]) -> None:
            self._samples = found

        self._context.background.ask(samples.available, take, owner=self)

    def _fill(self) -> None:
        menu = self.menu()
        menu.clear()
        menu.addAction("Open an image ...", self.browse)
        if recent := self.recent():
            _add_heading(menu, "Recent")
            for name in recent:
                action = menu.addAction(Path(name).name.replace("&", "&&"))
                action.setToolTip(name)
                action.triggered.connect(lambda _=False, p=Path(name): self.chosen.emit(p))
        _add_heading(menu, "Samples")
        self.add_samples(menu)
        self._ask_for_samples()  # a module may be installed by the next time

    def add_samples(self, menu: QMenu) -> None:
        """Add an entry for each sample."""
        for sample in self._samples:
            action = menu.addAction(sample.title)
            action.triggered.connect(lambda _=False, n=sample.name: self.open_sample(n))

    def open_sample(self, name: str) -> None:
        """Open a sample; it may have to be computed first."""
        self._context.background.ask(
            lambda: samples.path(data_folder(), name),
            self._open_sample,
            self.failed.emit,
            owner=self,
        )

    def _open_sample(self, path: Path) -> None:
        self._sample_paths.add(path)
        self.chosen.emit(path)


def _add_heading(menu: QMenu, text: str) -> None:
    menu.addSeparator()
    menu.addAction(text).setEnabled(False)
