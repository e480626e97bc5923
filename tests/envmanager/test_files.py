"""Files that commands write where the user says: refused before any work, or whole."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from envmanager.data import files
from envmanager.errors import BadInput


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_what_is_no_file_is_not_replaced(tmp_path):
    """As /dev/null, which an administrator could take from all programs."""
    place = tmp_path / "pipe"
    os.mkfifo(place)
    for refuse in (
        lambda: files.refuse_place(place, "x.md"),
        lambda: files.write_text(place, "text"),
    ):
        with pytest.raises(BadInput, match="no file that can be replaced"):
            refuse()
    assert stat.S_ISFIFO(place.stat().st_mode)
    assert [path.name for path in tmp_path.glob("pipe*")] == ["pipe"]


@pytest.mark.windows
def test_a_place_is_looked_at_before_any_work(tmp_path):
    new = tmp_path / "neu ü" / "tiefer" / "methods.md"
    files.refuse_place(new, "methods.md")
    assert not new.parent.parent.exists()
    with pytest.raises(BadInput, match="is a folder") as caught:
        files.refuse_place(tmp_path, "methods.md")
    assert caught.value.hint.endswith(f"{tmp_path / 'methods.md'}")
    (tmp_path / "file").touch()
    files.refuse_place(tmp_path / "file", "methods.md")
    gone = [Path("Q:/methods.md")] if sys.platform == "win32" else []  # a stick that was pulled out
    for place in (tmp_path / "file" / "methods.md", *gone):
        with pytest.raises(BadInput, match="cannot be written: ") as caught:
            files.refuse_place(place, "methods.md")
        assert caught.value.code == "output_not_writable"
