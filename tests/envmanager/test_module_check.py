"""The check of a module's folder: what is wrong is told with file and place."""

from __future__ import annotations

import re

import pytest

from envmanager.data.paths import SHIPPED_MODULES
from envmanager.errors import CatalogError
from envmanager.modules import checking as module_check
from tests.envmanager.conftest import LOCK, PYPROJECT, TOML, WORKER

CASES = {
    "unknown key": ("module.toml", TOML + 'colour = "red"', r"module\.toml: .*colour"),
    "bad name": ("module.toml", TOML.replace('"tiny"', '"Tiny"'), "name must be"),
    "no numpy": ("pyproject.toml", PYPROJECT.replace('"numpy"', ""), "lacks numpy"),
    "no project": ("pyproject.toml", "[x]", r"\[project\]"),
    "no toml": ("pyproject.toml", "x", "cannot be read"),
    "bad requirement": ("pyproject.toml", PYPROJECT.replace('"numpy"', '"numpy", "a b"'), "'a b'"),
    "address": (
        "pyproject.toml",
        PYPROJECT.replace('"numpy"', '"numpy", "a @ https://x.example/a.whl"'),
        "package index only",
    ),
    "bad python": ("pyproject.toml", PYPROJECT.replace(">=3.10", "3.x"), "requires-python"),
    "old python": ("pyproject.toml", PYPROJECT.replace(">=3.10", "<3.9"), r"allows no Python"),
    "lock lacks": (
        "pyproject.toml",
        PYPROJECT.replace('"numpy"', '"numpy", "scipy>=1.0"'),
        r"asks for scipy>=1\.0, the lock lacks it",
    ),
    "lock is old": (
        "pyproject.toml",
        PYPROJECT.replace('"numpy"', '"numpy>=2.3"'),
        r"asks for numpy>=2\.3, the lock has 2\.2\.0",
    ),
    "one build of torch": (
        "requirements.lock",
        LOCK + LOCK.replace("numpy==2.2.0", "torch==2.13.0+cpu"),
        r"pins torch 2\.13\.0\+cpu",
    ),
    "no hash": ("requirements.lock", "numpy==2.2.0\n", r"no sha256 for numpy 2\.2\.0"),
    "not pinned": ("requirements.lock", LOCK + "scipy>=1\n", "line 4 is no pinned version"),
    "index": ("requirements.lock", "--index-url https://x.example\n" + LOCK, "line 1 is no"),
    "syntax": ("worker.py", "import numpy\ndef segment(image:\n", r"worker\.py, line 2"),
    "outside": ("worker.py", "return 3\n", r"worker\.py, line 1: is no Python"),
    "no function": ("worker.py", "def other(image): ...", "has no function 'segment'"),
    "no image": ("worker.py", "def segment(*, threshold): ...", r"must take 1 image"),
    "no parameter": ("worker.py", "def segment(image): ...", "lacks the parameter 'threshold'"),
    "by place": ("worker.py", "def segment(threshold): ...", "lacks the parameter 'threshold'"),
    "undeclared": (
        "worker.py",
        "def segment(image, threshold, *, gain): ...",
        "needs 'gain', which module.toml does not declare",
    ),
    "async": ("worker.py", "async def segment(image, threshold): ...", "not async def"),
    "neighbour": ("worker.py", "import beside\n" + WORKER, "imports 'beside'"),
    "relative": ("worker.py", "from . import beside\n" + WORKER, "imports 'beside'"),
    "no test": ("test_worker.py", "import worker", "holds no test"),
    "fixture": ("test_worker.py", "def test_x(tmp_path): ...", r"test_x\(\) must take no"),
    "not text": ("worker.py", None, r"worker\.py: cannot be read"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_told_with_file_and_place(own, folder, data, case):
    name, text, message = CASES[case]
    (folder / "beside.py").write_text("", "utf-8")
    (folder / name).write_bytes(text.encode() if text else b"x = '\xff'")
    with pytest.raises(CatalogError, match=message) as caught:
        own.add(folder)
    assert str(folder) in caught.value.message
    assert caught.value.hint
    assert not any(data.user_modules.glob("*"))


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock", "worker.py"])
def test_a_missing_file_is_told(own, folder, name):
    (folder / name).unlink()
    with pytest.raises(CatalogError, match=re.escape(name)):
        own.add(folder)


@pytest.mark.parametrize(
    "worker",
    [
        "def segment(image, threshold): ...",
        "def segment(image, /, threshold=1): ...",
        "def segment(image, **options): ...",
        "def segment(*images, threshold): ...",
        "def segment(image, axes, *, threshold, more=1): ...",
        "if True:\n    def segment(image, threshold): ...\nelse:\n    segment = None",
        "from numpy import where as segment",
        "segment = lambda image, threshold: image",
        "\ufeffdef segment(image, threshold): '\\d'",
    ],
)
def test_every_way_to_write_a_function_is_allowed(folder, worker):
    (folder / "worker.py").write_text(worker, "utf-8")
    assert module_check.check(folder).name == "tiny"


@pytest.mark.parametrize(
    "place", sorted(SHIPPED_MODULES.glob("*/module.toml")), ids=lambda path: path.parent.name
)
def test_shipped_modules_pass_the_check(place):
    assert module_check.check(place.parent).name == place.parent.name
