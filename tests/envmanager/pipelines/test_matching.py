"""Patterns become files, and files the names of outputs."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmanager.errors import BadInput
from envmanager.pipelines import matching

pytestmark = pytest.mark.windows


@pytest.fixture
def folder(tmp_path):
    names = "a10.tif|a2.TIF|a1.ome.tif|B.png|c.nd2|notes.txt|.hidden.tif|d.tif.4711.tmp"
    inner = "Sub ü/a.tif|Sub ü/deep/x.tif|Sub ü/.git/y.tif|Plate [1]/e.tif|big.zarr/0/0.tif"
    for name in f"{names}|{inner}".split("|"):
        path = tmp_path / "Bilder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "Bilder"


def _names(pattern, folder):
    found = matching.find(pattern, folder)
    assert all(path.is_absolute() for path in found)
    return [path.relative_to(folder).as_posix() for path in found]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.tif", ["a1.ome.tif", "a2.TIF", "a10.tif"]),
        ("*.TIF", ["a1.ome.tif", "a2.TIF", "a10.tif"]),
        (" *.tif ", ["a1.ome.tif", "a2.TIF", "a10.tif"]),
        ("a?.tif", ["a2.TIF"]),
        ("a[12]*.tif", ["a1.ome.tif", "a2.TIF", "a10.tif"]),
        ("a[!1]*.tif", ["a2.TIF"]),
        ("*.ome.tif", ["a1.ome.tif"]),
        ("*", ["a1.ome.tif", "a2.TIF", "a10.tif", "B.png", "big.zarr", "c.nd2"]),
        ("*.*", ["a1.ome.tif", "a2.TIF", "a10.tif", "B.png", "big.zarr", "c.nd2"]),
        (".", ["a1.ome.tif", "a2.TIF", "a10.tif", "B.png", "big.zarr", "c.nd2"]),
        ("*.txt", ["notes.txt"]),
        ("a10.tif", ["a10.tif"]),
        (".hidden.tif", [".hidden.tif"]),
        (".*.tif", [".hidden.tif"]),
        ("*.zarr", ["big.zarr"]),
        ("big.zarr", ["big.zarr"]),
        ("big.zarr/", ["big.zarr"]),
        ("Sub ü/*.tif", ["Sub ü/a.tif"]),
        ("Sub ü\\*.tif", ["Sub ü/a.tif"]),
        ("s*/*.tif", ["Sub ü/a.tif"]),
        ("*/*.tif", ["Plate [1]/e.tif", "Sub ü/a.tif"]),
        ("*/deep/*.tif", ["Sub ü/deep/x.tif"]),
        ("Plate [1]/*.tif", ["Plate [1]/e.tif"]),
        ("**/x.tif", ["Sub ü/deep/x.tif"]),
        ("Sub ü/**", ["Sub ü/a.tif", "Sub ü/deep/x.tif"]),
        ("**/deep/*", ["Sub ü/deep/x.tif"]),
        (
            "**/*.tif",
            [
                "a1.ome.tif",
                "a2.TIF",
                "a10.tif",
                "Plate [1]/e.tif",
                "Sub ü/a.tif",
                "Sub ü/deep/x.tif",
            ],
        ),
        (["c.nd2", "a10.tif", "*.tif"], ["a1.ome.tif", "a2.TIF", "a10.tif", "c.nd2"]),
        ("nothing*.tif", []),
        ("no folder/*.tif", []),
        ("a10.tif/*.tif", []),
    ],
)
def test_patterns(folder, pattern, names):
    assert _names(pattern, folder) == names


def test_another_form_of_a_letter_beyond_ascii(folder):
    """Whether a folder of the other form is the same one is up to the file system."""
    assert _names("Sub u\u0308/*.tif", folder) in ([], ["Sub ü/a.tif"])
    assert _names("Sub u\u0308*/*.tif", folder) == ["Sub ü/a.tif"]


def test_full_paths_and_paths_beside_the_file(folder):
    wanted = [folder / "a1.ome.tif", folder / "a2.TIF", folder / "a10.tif"]
    elsewhere = folder.parent / "x"
    assert list(matching.find(f"{folder}/*.tif", elsewhere)) == wanted
    assert list(matching.find(f"{folder}\\*.tif".replace("/", "\\"), elsewhere)) == wanted
    assert list(matching.find("../Bilder/*.tif", elsewhere)) == wanted


@pytest.mark.parametrize("path", ["C:\\data\\*.tif", "C:/data/x.tif", "c:x.tif"])
def test_a_drive_is_a_full_path_where_there_are_drives(path, folder):
    if Path(path.replace("\\", "/")).is_absolute():
        assert Path(matching.absolute(path, folder)).parent == Path("C:/data")
        return
    with pytest.raises(BadInput, match="no full path"):
        matching.find(path, folder)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a right there")
def test_a_link_that_leads_back_up_is_not_followed(folder):
    (folder / "Sub ü" / "up").symlink_to(folder, target_is_directory=True)
    assert "Sub ü/up/a2.TIF" not in _names("**/*.tif", folder)
    assert len(_names("**/*.tif", folder)) == 6


@pytest.mark.parametrize(
    ("pattern", "base"),
    [
        ("*.tif", "."),
        ("Sub ü/**/*.tif", "Sub ü"),
        ("Sub ü", "Sub ü"),
        ("Sub ü/a.tif", "Sub ü"),
        ("Plate [1]/*.tif", "Plate [1]"),
        ("big.zarr", "."),
        (["Sub ü/deep/*.tif", "Sub ü/a.tif"], "Sub ü"),
        (["Sub ü/*", "Plate [1]/*"], "."),
        ("missing/*.tif", "missing"),
    ],
)
def test_the_base_of_a_pattern(folder, pattern, base):
    assert matching.base(pattern, folder) == (folder / base).absolute()


def test_what_a_folder_holds_is_told(folder, tmp_path):
    assert "1 .nd2" in matching.contents(folder)
    assert "no folder" in matching.contents(folder / "x")
    (tmp_path / "empty").mkdir()
    assert "is empty" in matching.contents(tmp_path / "empty")


# ---- names of outputs ----------------------------------------------------------------------------

ROOT = Path("/data/in").absolute()
OUT = str(Path("/data/out").absolute())


def _stems(*names):
    files = [ROOT / name for name in names]
    return list(matching.stems(files, ROOT).values())


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.tif", "b.ome.tif", "c.OME.TIFF", "d.zarr"], ["a", "b", "c", "d"]),
        (["a.b.tif"], ["a.b"]),
        (["a.tif", "a.png", "b.tif"], ["a_tif", "a_png", "b"]),
        (["a.tif", "A.png"], ["a_tif", "A_png"]),
        (["a.tif", "a.png", "a_tif.nd2"], ["a_tif_2", "a_png", "a_tif"]),
        pytest.param(
            ["a.tif", "A.TIF"],
            ["a_tif", "A_TIF_2"],
            marks=pytest.mark.skipif(sys.platform == "win32", reason="one file there"),
        ),
        (["a.tif", "a.ome.tif"], ["a_tif", "a_ome_tif"]),
        (["sub/a.tif", "a.tif", "sub/deep/b.tif"], ["sub/a", "a", "sub/deep/b"]),
        (["a.tif", "a_p01.tif"], ["a", "a_p01_tif"]),
        (["a_p01.tif", "b.tif"], ["a_p01", "b"]),
        (["...tif", "b.tif"], ["___tif", "b"]),
    ],
)
def test_stems(names, stems):
    assert _stems(*names) == stems


def test_a_file_outside_of_the_base_has_its_name_only():
    assert list(matching.stems([Path("/other/a.tif").absolute()], ROOT).values()) == ["a"]


@pytest.mark.parametrize(
    ("p", "count", "stem"),
    [(0, 1, "a"), (0, 2, "a_p01"), (11, 96, "a_p12"), (6, 384, "a_p007")],
)
def test_positions(p, count, stem):
    assert matching.with_position("a", p, count) == stem


@pytest.mark.parametrize(
    ("template", "stem", "single", "path"),
    [
        ("masks.tif", "a", True, "masks.tif"),
        ("masks.tif", "a", False, "a_masks.tif"),
        ("masks.tif", "sub/a", False, "sub/a_masks.tif"),
        ("x/%STEM%_cells.csv", "a", True, "x/a_cells.csv"),
        ("x/%STEM%_cells.csv", "sub/a", False, "x/sub/a_cells.csv"),
        ("%STEM%/masks.tif", "a", False, "a/masks.tif"),
        ("%STEM%/%STEM%.tif", "a", False, "a/a.tif"),
        ("x%STEM%/masks.ome.tif", "a", False, "xa/masks.ome.tif"),
        ("masks.ome.zarr", "a", False, "a_masks.ome.zarr"),
    ],
)
def test_output_paths(template, stem, single, path):
    assert matching.output_path(f"{OUT}{os.sep}{template}", stem, single) == Path(OUT) / path


@pytest.mark.parametrize("stem", ["..", "../a", "a/../../b", "/etc/a"])
@pytest.mark.parametrize("template", ["%STEM%.tif", "%STEM%/x.tif", "x.tif"])
def test_an_output_never_leaves_its_folder(template, stem):
    try:
        path = matching.output_path(f"{OUT}{os.sep}{template}", stem, False)
    except BadInput:
        return
    assert path.is_relative_to(OUT)


PART = st.text(alphabet="aA1_. pü%", min_size=1, max_size=5).map(str.strip)
NAME = st.builds(
    lambda stem, suffix: stem + suffix,
    PART,
    st.sampled_from([".tif", ".TIF", ".png", ".ome.tif", ".nd2", "_p01.tif", ""]),
).filter(lambda name: name not in ("", ".", ".."))
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)
TEMPLATES = ["masks.tif", "%STEM%.tif", "%STEM%/m.tif", "sub/m%STEM%.tif", "%STEM%_x/%STEM%.csv"]


@given(names=st.lists(PATH, min_size=2, max_size=8, unique=True), data=st.data())
def test_outputs_of_any_files_differ_and_stay_in_their_folder(names, data):
    template = data.draw(st.sampled_from(TEMPLATES))
    files = [ROOT / name for name in names]
    stems = matching.stems(files, ROOT)
    assert list(stems) == list(dict.fromkeys(files))
    found = []
    for path in stems:
        for p in range(count := data.draw(st.integers(1, 3))):
            stem = matching.with_position(stems[path], p, count)
            assert not PurePosixPath(stem).is_absolute()
            found.append(matching.output_path(f"{OUT}{os.sep}{template}", stem, False))
    assert all(path.is_relative_to(OUT) for path in found)
    assert len({str(path).casefold() for path in found}) == len(found)
