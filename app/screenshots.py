"""Pictures of the app in its states: ``./run screenshots FOLDER``.

The real app is driven, on real data that the engine makes in a temporary data folder: modules are
installed, one is damaged, one installs from a slow server of this program, an image is segmented.
One PNG of each page and state comes into the folder; their names are printed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QSettings, QSize, Qt
from PySide6.QtWidgets import QAbstractButton

from app.application import Application
from app.background import RUNS
from app.pages.batch.images_panel import RESULTS
from app.slow_index import SlowIndex, write_module
from app.window import ABOUT
from envmanager.data import settings
from envmanager.data.paths import data_folder
from envmanager.errors import GA3EnvError

SIZE = QSize(1280, 800)
_PATIENCE_S = 600.0  # packages may have to be fetched first
_STEP_S = 0.01
_QUIET_S = 0.4  # pictures and tables are painted by then
_BROKEN = "texture"
_PART = 0.4  # of the slow module's bytes


class Photographer:
    """Drives the app and takes its pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._app = Application()
        self._window = self._app.window
        self._window.resize(SIZE)

    def run(self) -> None:
        """Take all pictures, in an order in which each state follows from the one before."""
        self._app.show()
        self._until(lambda: self._app.store.snapshot is not None)
        self._first_run()
        self._working()
        self._try_it()
        self._batch()
        self._others()
        self._dark()
        self._app.shut_down()

    # ---- the states -----------------------------------------------------------------------------

    def _first_run(self) -> None:
        self._take("modules-first-run")
        self._do("classic", "install")
        self._until(lambda: self._button("Install") is not None)
        self._take("modules-install")
        self._press("Install")
        self._until(self._is_idle)
        self._do(_BROKEN, "install")
        self._until(lambda: self._button("Install") is not None)
        self._press("Install")
        self._until(self._is_idle)
        self._take("modules-details")
        self._do("cellpose", "weights")
        self._take("modules-weights")
        self._do("classic", "remove")
        self._take("modules-remove")

    def _working(self) -> None:
        """Show one module that is whole, one that is damaged, and one that installs."""
        data = data_folder()
        published = data.generation(_BROKEN, 1)
        (published / "manifest.json").unlink()
        index = SlowIndex()
        self._app.background.ask(index.serve, lambda _: None)
        settings.change(data.settings, "index_url", [index.url])
        write_module(data.user_modules, index)
        self._app.store.refresh()
        self._until(lambda: self._state(index.name) == "not_installed")
        self._do(index.name, "install")
        self._until(lambda: self._button("Install") is not None)
        self._press("Install")
        self._until(lambda: self._part_done() >= _PART)
        self._window.messages.hide()
        self._take("modules-installing")
        self._modules.close_side()
        self._take("modules")
        for task in self._app.background.under_way():
            task.cancel()
        self._until(self._is_idle)
        index.close()
        settings.change(data.settings, "index_url", [""])

    def _try_it(self) -> None:
        from envmanager import samples

        self._window.messages.hide()
        image = samples.path(data_folder(), samples.NUCLEI.name)
        self._window.show_page("try", module="classic", image=image)
        page: Any = self._window._pages["try"]
        self._until(lambda: page.images.current is not None and not page.column.bar.problem)
        self._take("try-image")
        page.column.run()
        self._until(lambda: not self._is_idle() or page.results.shown is not None)
        self._until(self._is_idle)
        self._take("try-result")

    def _batch(self) -> None:
        """Run a folder of images, one of which is damaged."""
        self._window.messages.hide()
        folder = _cut(data_folder().root / "Plate 7")
        self._window.show_page("batch", module="classic", folder=folder)
        page: Any = self._window._pages["batch"]
        rows = page.panel.images
        self._until(lambda: bool(rows.rows) and all(row.text for row in rows.rows))
        self._take("batch-images")
        page.run()
        self._until(lambda: len(page.panel.grid.results.results) > 2)
        self._take("batch-running")
        self._until(self._is_idle)
        self._until(lambda: page.panel.grid.is_complete)
        self._take("batch-failed")
        page.panel.show_tab(RESULTS)
        self._take("batch")

    def _others(self) -> None:
        self._window.messages.hide()
        self._window.show_page("nodes", module="classic")
        self._take("nodes")
        self._window.show_page("system")
        self._until(self._is_idle)
        self._take("system")
        self._window.show_page("settings")
        self._take("settings")
        self._window.show_page(ABOUT.key)
        self._take("about")

    def _dark(self) -> None:
        self._app.theme.apply(Qt.ColorScheme.Dark)
        self._window.show_page("modules", module="classic")
        self._take("modules-dark")
        self._window.show_page("try")
        self._take("try-dark")
        self._window.show_page("batch")
        self._take("batch-dark")
        self._window.show_page("system")
        self._take("system-dark")

    # ---- what the app is asked and told ---------------------------------------------------------

    @property
    def _modules(self) -> Any:
        return self._window._pages["modules"]

    def _do(self, module: str, step: str) -> None:
        self._window.show_page("modules", module=module, step=step)

    def _state(self, module: str) -> str:
        found = self._app.store.snapshot and self._app.store.snapshot.module(module)
        return found.state if found else ""

    def _is_idle(self) -> bool:
        return not self._app.background.under_way()

    def _part_done(self) -> float:
        under_way = self._app.background.under_way()
        told = [task.progress for task in under_way if task.lane != RUNS and task.progress]
        if not under_way:
            self._give_up("The slow install ended too early")
        return max((p.done / p.total for p in told if p.total), default=0.0)

    def _button(self, text: str) -> QAbstractButton | None:
        side = self._modules.side
        found = side.findChildren(QAbstractButton) if side else []
        return next((b for b in found if b.text() == text and b.isVisible()), None)

    def _press(self, text: str) -> None:
        if button := self._button(text):
            button.click()

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            self._app.qt.processEvents()
            time.sleep(_STEP_S)
            if time.monotonic() > deadline:
                self._give_up("This takes too long")

    def _give_up(self, why: str) -> None:
        raise GA3EnvError(f"{why}: {self._window.messages.text or 'nobody says why'}")

    def _take(self, name: str) -> None:
        quiet = time.monotonic() + _QUIET_S
        self._until(lambda: time.monotonic() > quiet)
        path = self._folder / f"{name}.png"
        self._window.grab().save(str(path))
        print(path, flush=True)


def _cut(folder: Path) -> Path:
    """Make a folder of images: pieces of a sample, and a file that is none."""
    import tifffile

    from envmanager import samples

    folder.mkdir()
    nuclei = tifffile.imread(samples.path(data_folder(), samples.NUCLEI.name))
    told = {"axes": "CYX", "Channel": {"Name": ["Nuclei", "Cells"]}}
    corners = [(y, x) for y in range(0, 512, 128) for x in range(0, 512, 128)]
    for number, (y, x) in enumerate(corners, 1):
        piece = nuclei[:, y : y + 512, x : x + 512]
        path = folder / f"well {number:02d}.ome.tif"
        tifffile.imwrite(path, piece, ome=True, photometric="minisblack", metadata=told)
    (folder / "well 17.ome.tif").write_bytes(b"")
    return folder


def main(arguments: list[str]) -> int:
    """Take the pictures; return the exit code."""
    if len(arguments) != 1:
        print("usage: ./run screenshots FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ga3-screenshots-", ignore_cleanup_errors=True) as own:
        os.environ["GA3ENV_HOME"] = str(Path(own) / "data")
        os.environ.pop("UV_CACHE_DIR", None)
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, own)
        try:
            Photographer(folder).run()
        except GA3EnvError as error:
            print(f"error: {error.message}", file=sys.stderr)
            return 1
        finally:
            _end_workers()
    return 0


def _end_workers() -> None:
    from envmanager import workers
    from ga3_nodes import client

    client.close()
    workers.stop(data_folder(), force=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
