"""The style rules of pyproject.toml hold."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


def check(*command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_check():
    check("ruff", "check", "--quiet")


def test_ruff_format():
    check("ruff", "format", "--check", "--quiet")


def test_mypy():
    check("mypy")


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_mypy_of_bootstrap(platform):
    check("mypy", "--platform", platform, "external/bootstrap.py")
