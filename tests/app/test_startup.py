"""The window appears before the engine is loaded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from tests.support import PROJECT

# What the engine needs, and what takes long to load. `-X importtime` tells who brought it.
HEAVY = """
    numpy psutil rich packaging tomlkit tifffile nd2 imagecodecs PIL roifile superqt urllib3 ssl
    asyncio dask envmanager.console envmanager.environments.inventory
""".split()
FIRST_PAINT = """
import json, sys
from app import application
made = application.Application()
def painted():
    print(json.dumps(sorted(sys.modules)), flush=True)
    made.shut_down()
    made.qt.quit()
made.window.painted.connect(painted)
made.show()
made.qt.exec()
"""


def _run(*arguments, root):
    environment = os.environ | {"GA3ENV_HOME": str(root), "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env=environment | {"XDG_CONFIG_HOME": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_heavy_is_loaded_before_the_first_paint(data_folder):
    loaded = set(json.loads(_run("-c", FIRST_PAINT, root=data_folder)))
    assert "app.pages.modules.page" in loaded
    assert not loaded & set(HEAVY)


def test_the_start_is_timed(data_folder):
    said = _run("-m", "app", "--time", root=data_folder)
    print(said)
    assert re.search(r"first paint \d+ ms after the start", said)
