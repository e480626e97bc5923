"""``docs/howto-module.md`` is followed to the letter, and the template is of good style."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tifffile

from envmanager.data.paths import DataFolder
from tests.support import PROJECT

DOCUMENT = PROJECT / "docs" / "howto-module.md"


@pytest.fixture
def data(data_folder):
    return DataFolder(data_folder)


def _blocks(text: str) -> list[tuple[str, str, str]]:
    """Return each code block with its language and the paragraph before it."""
    found = re.finditer(r"(?P<before>[^\n]+)\n+```(?P<kind>\w*)\n(?P<text>.*?)```", text, re.DOTALL)
    return [(match["before"], match["kind"], match["text"]) for match in found]


def _write_cells(path: Path) -> None:
    image = np.random.default_rng(1).normal(100, 2, (200, 220))
    y, x = np.indices(image.shape)
    for number in range(12):
        cy, cx = 30 + 45 * (number // 3), 30 + 70 * (number % 3)
        image += 200 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 8)
    tifffile.imwrite(path, image.astype(np.uint16))


@pytest.mark.slow
def test_the_document_leads_to_a_working_module(environments, data, tmp_path, monkeypatch):
    """Follows docs/howto-module.md to the letter: each command, each file, each output shown."""
    _write_cells(tmp_path / "cells.tif")
    folder, commands, files, output = data.user_modules / "spots", [], [], ""
    text = DOCUMENT.read_text("utf-8")
    assert len(_blocks(text)) == text.count("```") / 2
    for before, kind, content in _blocks(text):
        if "On the other computer" in before:
            shutil.copytree(folder, tmp_path / "spots")
            monkeypatch.setenv("GA3ENV_HOME", str(tmp_path / "other computer"))
        if kind in ("python", "toml"):
            name = re.search(r"Put this into `([\w.]+)`:$", before)
            assert name, before
            assert (folder / name[1]).is_file(), "new-module makes each file that is to be changed"
            (folder / name[1]).write_text(content, "utf-8")
            files.append(name[1])
        elif kind == "text":
            for line in content.splitlines():
                assert re.search(re.escape(line).replace(r"\.\.\.", ".*"), output), output
        else:
            for line in content.splitlines():
                output = _follow(line, tmp_path)
                commands.append(line.split()[1])
    assert sorted(files) == ["module.toml", "pyproject.toml", "test_worker.py", "worker.py"]
    assert {"new-module", "lock-module", "add-module", "update", "segment", "node"} <= {*commands}
    assert tifffile.imread(tmp_path / "mask.tif").max() == 12
    assert "contrast" in (tmp_path / "spots_node.py").read_text("utf-8")


def _follow(line: str, place: Path) -> str:
    """Run a command of the document as it stands there; return what it prints."""
    import shlex

    program, *words = shlex.split(line)
    assert program == "./run", line
    done = subprocess.run(
        [sys.executable, "-m", "envmanager", *words],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=500,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_messages_that_the_document_explains_are_those_of_the_product():
    sources = [*(PROJECT / "envmanager").rglob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    for words in ("The packages could not be looked up.", "does not fit pyproject.toml",
                  "lacks the parameter", "import its packages", "pass its self-test"):  # fmt: skip
        assert words in text
        assert words in DOCUMENT.read_text("utf-8")


def test_every_documented_command_exists():
    from envmanager import cli

    known = set(re.findall(r"^    ([a-z-]+)\b", cli._parser().format_help(), re.MULTILINE))
    named = set(re.findall(r"\./run ([a-z-]+)", DOCUMENT.read_text("utf-8")))
    assert named
    assert named <= known, named - known


def test_the_template_is_python_of_good_style(tmp_path):
    for name in ("worker.py", "test_worker.py"):
        text = (PROJECT / "envmanager" / "modules" / "new_module" / f"{name}.txt").read_text(
            "utf-8"
        )
        (tmp_path / name).write_text(textwrap.dedent(text), "utf-8")
    for words in (["check"], ["format", "--check"]):
        options = ["--config", str(PROJECT / "pyproject.toml")]
        if words == ["check"]:
            options += ["--extend-ignore", "ANN,D"]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *options, str(tmp_path)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
