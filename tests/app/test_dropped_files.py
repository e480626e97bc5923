"""Files that are dropped on the program: a first start opens them, a later one hands them over."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from envmanager.pipelines import composing
from tests.support import PROJECT

pytestmark = pytest.mark.windows
# The app as `python -m app` starts it. It tells what is seen, each time that this has changed.
TELLING = """
import sys
from PySide6.QtCore import QTimer
from app import application
class Telling(application.Application):
    told = ""
    def show(self):
        super().show()
        self.timer = QTimer(interval=20)
        self.timer.timeout.connect(self.tell)
        self.timer.start()
    def tell(self):
        window = self.window
        page = window._pages[window.page]
        document = page.column.document if window.page == "batch" else None
        seen = f"{window.page}|{document.path if document else ''}|{window.messages.text}"
        if seen != self.told:
            self.told = seen
            print(seen.replace("\\n", " "), flush=True)
application.Application = Telling
sys.stdout.reconfigure(encoding="utf-8")
sys.exit(application.run(sys.argv[1:]))
"""


@pytest.fixture
def app_with(data_folder, tmp_path):
    """Start the app with files, in a folder of its own; give a reader of what is seen."""
    environment = os.environ | {
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_CONFIG_HOME": str(data_folder),
        "PYTHONPATH": str(PROJECT),
    }
    processes = []

    def start(*words, code=TELLING):
        command = [sys.executable, *(["-c", code] if code else ["-m", "app"]), *words]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def _until(process, text):
    """Read what is seen until this is."""
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"the app has ended before {text!r} was seen")


def test_pipelines_are_opened_and_other_files_are_told(app_with, tmp_path):
    pipeline = tmp_path / "Jörgs Ablauf.ga3pipeline"
    outputs = {"labels": "labels"}
    batch = composing.Batch(module="classic", function="segment", outputs=outputs, parameters={})
    pipeline.write_text(composing.text_of(batch), "utf-8")
    first = app_with(pipeline.name)
    assert _until(first, f"batch|{pipeline}|").rstrip().endswith("|")

    broken = tmp_path / "zerbrochen.yaml"
    broken.write_text("steps: [\n")
    assert app_with(broken.name, code="").wait(60) == 0  # hands it over
    assert str(pipeline) in _until(first, broken.name)  # what was open stays
    assert app_with("notes.docx", code="").wait(60) == 0
    assert "pipelines (.yaml" in _until(first, "cannot open notes.docx")
