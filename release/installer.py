"""The two programs that NSIS makes: the starter, and the installer around a staged folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath

from ga3_nodes import __version__
from release.contents import Release, listed
from release.errors import ReleaseError

SCRIPTS = Path(__file__).resolve().parent
STARTER = "GA3EnvManager.exe"
TITLE = "GA3 Environment Manager"
PYTHON_VERSION = "3.12"  # that uv fetches where a release carries none
LONGEST_FOLDER = 120  # letters; Windows takes 259, and PySide6 below .venv needs 119
_PYTHONS = "python"  # the folder of Pythons
_MARKS = ("release.json", STARTER)  # make a folder ours: the first to come and the last to go
_PACKED = ".whl"


def compile_starter(target: Path, icon: Path, release: Release) -> None:
    """Make the program that starts the app."""
    lines = list(_definitions(target, icon, release))
    _compile("starter.nsi", lines, target.parent.with_name("starter"), release)


def compile_installer(
    target: Path, stage: Path, icon: Path, banner: Path, release: Release
) -> None:
    """Make the installer of all that lies in a staged folder; `banner` is on its last page."""
    names = listed(stage)
    lines = [*_definitions(target, icon, release), f'!define BANNER "{banner}"']
    lines += [*_installing(stage, names, release), *_removing(names)]
    _compile("installer.nsi", lines, stage.with_name("installer"), release)


def _definitions(target: Path, icon: Path, release: Release) -> Iterator[str]:
    values = {
        "TITLE": TITLE,
        "VERSION": __version__,
        "LICENSE": "MIT License",
        "STARTER": STARTER,
        "PYTHON_VERSION": PYTHON_VERSION,
        "LONGEST_FOLDER": str(LONGEST_FOLDER),
        "COMPRESSOR": "zlib" if release.quick else "lzma",
        "ICON": str(icon),
        "OUTPUT": str(target),
    }
    if release.python:
        values["PYTHON"] = release.python.folder
    for name, value in values.items():
        yield f'!define {name} "{_quoted(value)}"'


def _installing(stage: Path, names: list[str], release: Release) -> Iterator[str]:
    """Write the macro that unpacks the files; what is packed already is not packed again.

    A Python that is there already is left alone: workers may run with it.
    """
    yield "!macro InstallProgram"
    own = [name for name in names if not name.startswith(f"{_PYTHONS}/")]
    yield from _unpacking(stage, [*_MARKS, *(name for name in own if name not in _MARKS)])
    if release.python:
        complete = f"$INSTDIR\\{_PYTHONS}\\{release.python.folder}.complete"
        yield f'${{IfNot}} ${{FileExists}} "{complete}"'
        yield from _unpacking(stage, sorted(set(names) - set(own)))
        yield f'FileOpen $0 "{complete}" w'
        yield "FileClose $0"
        yield "${EndIf}"
    yield "!macroend"


def _unpacking(stage: Path, names: list[str]) -> Iterator[str]:
    for folder, inside in groupby(names, lambda name: str(PurePosixPath(name).parent)):
        yield f'SetOutPath "{_installed("" if folder == "." else folder)}"'
        for name in inside:
            if name.endswith(_PACKED):
                yield "SetCompress off"
            yield f'File "{stage / name}"'
            if name.endswith(_PACKED):
                yield "SetCompress auto"


def _removing(names: list[str]) -> Iterator[str]:
    """Write the macro that removes the program and the bytecode of it.

    Each file by its name, each folder only where it is empty then: what somebody has put beside
    them is not ours. The marks are left for the end of an uninstallation.
    """
    yield "!macro RemoveProgram"
    folders = set()
    for name in names:
        if name.startswith(f"{_PYTHONS}/") or name in _MARKS:
            continue
        yield f'Delete "{_installed(name)}"'
        folders |= {str(folder) for folder in PurePosixPath(name).parents} - {"."}
    for folder in sorted(folders, reverse=True):  # a folder comes before the one that it is in
        yield f'RMDir /r "{_installed(folder)}\\__pycache__"'
        yield f'RMDir "{_installed(folder)}"'
    yield "!macroend"


def _installed(name: str) -> str:
    return "\\".join(["$INSTDIR", *(_quoted(part) for part in PurePosixPath(name).parts)])


def _quoted(text: str) -> str:
    return text.replace("$", "$$").replace('"', '$\\"')


def _compile(script: str, lines: list[str], folder: Path, release: Release) -> None:
    makensis = shutil.which("makensis")
    if not makensis:
        raise ReleaseError(
            "There is no makensis on this computer.",
            "Install NSIS 3 (Debian, Ubuntu: sudo apt install nsis).",
            code="makensis_missing",
        )
    folder.mkdir()
    (folder / "release.nsh").write_text("\n".join(lines) + "\n", "utf-8-sig")
    command = [makensis, "-V2", "-INPUTCHARSET", "UTF8", "-WX"]
    command += [f'-X!addincludedir "{include}"' for include in (folder, SCRIPTS)]
    # Without UTF-8 it knows no path of other letters than ASCII's.
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(release.epoch), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [*command, str(SCRIPTS / script)], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        output = (done.stdout + done.stderr).strip()
        raise ReleaseError(f"NSIS cannot compile {script}:\n{output[-3000:]}")
