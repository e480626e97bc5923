"""Where masks go, what is refused before the worker is asked, several images in one command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from envmanager import cli, images, segmentation
from envmanager.errors import ImageError, UsageError
from ga3_nodes import client

GREY = np.arange(12, dtype=np.uint16).reshape(3, 4)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Make a folder with two images the current one."""
    place = tmp_path / "bilder ü"
    place.mkdir()
    monkeypatch.chdir(place)
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(place / name, GREY)
    return place


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        (["a.tif"], "a.tif"),
        (["a.tif"], "./sub/../a.tif"),
        (["a.tif"], "link.tif"),
        (["a.tif"], "hard.tif"),
        (["linked/a.tif"], "a.tif"),
        (["a.tif", "a_labels.tif"], "."),
        (["no.tif"], "no.tif"),
    ],
)
def test_a_mask_never_replaces_an_image(folder, inputs, output):
    tifffile.imwrite(folder / "a_labels.tif", GREY)
    (folder / "hard.tif").hardlink_to(folder / "a.tif")
    try:
        (folder / "link.tif").symlink_to(folder / "a.tif")
        (folder / "linked").symlink_to(folder)
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(UsageError, match="would replace the image") as caught:
        segmentation.output_paths([Path(name) for name in inputs], Path(output))
    assert caught.value.hint


def test_the_image_is_as_it_was_after_the_command_was_refused(echo, folder, capsys):
    before = (folder / "a.tif").read_bytes()
    assert cli.main(["segment", "echo", "a.tif", "-o", "a.tif"]) == 2
    assert "would replace" in capsys.readouterr().err
    assert (folder / "a.tif").read_bytes() == before


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("m.tif", "m.tif"),
        ("new", "new/a_labels.tif"),
        (f"new{os.sep}", "new/a_labels.tif"),
        (f"v1.0{os.sep}", "v1.0/a_labels.tif"),
        ("there.d", "there.d/a_labels.tif"),
        ("file", "file"),
        (Path("new"), "new/a_labels.tif"),
    ],
)
def test_where_the_mask_of_one_image_goes(folder, output, expected):
    (folder / "there.d").mkdir()
    (folder / "file").write_text("")
    assert segmentation.output_paths([Path("a.tif")], output) == [Path(expected)]


@pytest.mark.parametrize("output", ["m.tif", "file"])
def test_several_images_do_not_go_to_one_file(folder, output):
    (folder / "file").write_text("")
    with pytest.raises(UsageError, match="cannot go to one file"):
        segmentation.output_paths([Path("a.tif"), Path("b.tif")], Path(output))


def test_a_folder_is_made_for_one_mask(echo, folder):
    assert cli.main(["segment", "echo", "a.tif", "-o", "new/"]) == 0
    assert (folder / "new" / "a_labels.tif").is_file()


@pytest.mark.parametrize(
    ("pixels", "axes", "output"),
    [
        (GREY, "yx", "m.jpg"),
        (GREY, "yx", "m.xyz"),
        (GREY, "yx", "m"),
        (np.stack([GREY] * 3), "zyx", "m.png"),
    ],
)
def test_a_mask_that_cannot_be_kept_is_not_computed(
    echo, tmp_path, monkeypatch, pixels, axes, output
):
    asked = []
    monkeypatch.setattr(client, "call", lambda *_, **__: asked.append(1))
    with pytest.raises(ImageError):
        segmentation.segment(
            "echo", images.Image(Path("x"), pixels, axes), {}, output=tmp_path / output
        )
    assert not asked


def test_an_image_that_fails_does_not_lose_the_others(echo, folder, capsys):
    (folder / "a.tif").write_text("no image")
    tifffile.imwrite(folder / "c.tif", np.zeros((5, 6, 3), np.uint8), photometric="rgb")
    words = ["segment", "echo", "a.tif", "no.tif", "b.tif", "c.tif", "-o", "masks"]
    assert cli.main([*words, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [row["input"] for row in answer["data"]["outputs"]] == ["b.tif"]
    failed = answer["data"]["failed"]
    assert [row["input"] for row in failed] == ["a.tif", "no.tif", "c.tif"]
    assert all(set(row) == {"input", "message", "hint"} for row in failed)
    assert all(row["message"] and row["hint"] for row in failed)
    assert [path.name for path in (folder / "masks").iterdir()] == ["b_labels.tif"]
    assert cli.main(words) == 1
    told = capsys.readouterr().out
    assert "b.tif: 11 objects" in told
    assert "a.tif: failed: a.tif cannot be read" in told
    assert "c.tif: failed: echo cannot work on" in told


def test_nothing_failed(echo, folder, capsys):
    assert cli.main(["segment", "echo", "a.tif", "b.tif", "-o", "masks", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (len(data["outputs"]), data["failed"]) == (2, [])
