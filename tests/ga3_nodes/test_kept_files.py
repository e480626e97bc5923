"""GA3ENV_KEEP_FILES: what was sent and came back lies there, with the command that repeats it."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ga3_nodes import client, spawn
from ga3_nodes.errors import BadInput, GA3EnvError

pytestmark = pytest.mark.windows

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    folder = tmp_path / "kept files é"
    monkeypatch.setenv("GA3ENV_KEEP_FILES", str(folder))
    return folder


def _told(place: Path) -> dict:
    return json.loads((place / "call.json").read_text("utf-8"))


def test_a_call_can_be_looked_at_and_repeated(echo, kept):
    result = client.call(
        "echo", "segment", {"image": IMAGE}, {"threshold": 4}, axes={"image": "yx"}
    )
    place = kept / "000001"
    np.testing.assert_array_equal(np.load(place / "input-image.npy"), IMAGE)
    np.testing.assert_array_equal(np.load(place / "output-labels.npy"), result["labels"])
    told = _told(place)
    assert (told["module"], told["function"], told["generation"]) == ("echo", "segment", 1)
    assert told["params"] == {"threshold": 4.0, "mode": "plain"}
    assert told["axes"] == {"image": "yx"}
    shell = told["again"] if sys.platform == "win32" else ["sh", "-c", told["command_line"]]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = np.load(place / "again-labels.npy")
    assert again.dtype == np.int32
    np.testing.assert_array_equal(again, result["labels"])


def test_images_and_tables_are_kept_and_paths_are_not_copied(echo, kept, tmp_path):
    np.save(tmp_path / "other.npy", IMAGE)
    arrays = {"image": IMAGE, "other": tmp_path / "other.npy"}
    result = client.call("echo", "measure", arrays)
    place = kept / "000001"
    assert _told(place)["inputs"]["other"] == str(tmp_path / "other.npy")
    table = json.loads((place / "output-table.json").read_text("utf-8"))
    assert table == result["table"]
    subprocess.run(_told(place)["again"], check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(place / "again-sum.npy"), result["sum"])
    assert json.loads((place / "again-table.json").read_text("utf-8")) == table


def test_a_failure_is_kept_with_its_input(echo, kept):
    with pytest.raises(BadInput, match="too dark"):
        client.call("echo", "segment", {"image": IMAGE}, {"mode": "refuse"})
    error = json.loads((kept / "000001" / "error.json").read_text("utf-8"))
    assert error["message"] == "The image is too dark."
    assert (kept / "000001" / "input-image.npy").exists()
    done = subprocess.run(_told(kept / "000001")["again"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "The image is too dark." in done.stderr


def test_each_call_has_its_own_number_also_in_a_batch_and_in_threads(echo, kept):
    images = [{"image": np.full((3, 3), value, np.uint8)} for value in range(4)]
    assert len(list(client.call_many("echo", "segment", images))) == 4
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda image: client.call("echo", "segment", image), images))
    places = sorted(kept.iterdir())
    assert [place.name for place in places] == [f"{n:06d}" for n in range(1, 9)]
    sent = [int(np.load(place / "input-image.npy").max()) for place in places]
    assert sent[:4] == [0, 1, 2, 3]
    assert sorted(sent[4:]) == [0, 1, 2, 3]


def test_a_folder_that_cannot_be_written_is_told(echo, kept):
    kept.write_text("a file", "utf-8")
    with pytest.raises(GA3EnvError, match="GA3ENV_KEEP_FILES") as caught:
        client.call("echo", "segment", {"image": IMAGE})
    assert caught.value.code == "keep_files"


def test_nothing_is_kept_without_the_switch(echo, tmp_path):
    before = sorted(tmp_path.rglob("*.npy"))
    client.call("echo", "segment", {"image": IMAGE})
    assert sorted(tmp_path.rglob("*.npy")) == before


def test_a_command_line_keeps_its_words_apart():
    words = ["a b", 'c"d', "e$f", "plain", ""]
    line = spawn.command_line(words)
    code = "import sys, json; print(json.dumps(sys.argv[1:]))"
    start = spawn.command_line([sys.executable, "-c", code])
    done = subprocess.run(f"{start} {line}", shell=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == words
