"""A zip of somebody else is read strictly: what could mislead is refused, whatever it is."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envmanager.errors import BadInput
from envmanager.events import CancelToken
from envmanager.sharing import archive

relaxed = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PARTS = st.sampled_from(
    [
        *("a", "A", "b.txt", "ä", "a\u0308", "..", ".", "", "con", "NUL.txt", "aux ", "x.", "c:"),
        *("a:b", "a\\b", "~", " ", "lpt¹", "ß", "SS", "\x01", "*", "x" * 90),
    ]
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join).filter(bool)


def _zip(path: Path, members: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members:
            info = name
            if isinstance(name, str):  # set afterwards: the class would mend some names
                info = _info("x", filename=name, compress_type=zipfile.ZIP_DEFLATED)
            made.writestr(info, content)
    return path


def _read(path: Path) -> set[str]:
    with archive.opened(path) as found:
        for name in found.names:
            found.hashed(name, CancelToken())
        return found.names


def _refusal(path: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        _read(path)
    assert path.name in caught.value.message
    assert caught.value.hint
    return caught.value


def _info(name: str, **changed) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for key, value in changed.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "full path"),
        ("\\\\server\\share\\x", "full path"),
        ("C:/Windows/x.dll", "full path"),
        ("c:x", "full path"),
        ("../x", "leads out"),
        ("module/../../x", "leads out"),
        ("module\\..\\..\\x", "leads out"),
        ("module//x", "no plain path"),
        ("./x", "no plain path"),
        ("folder/", "no plain path"),
        ("module/NUL", "no name"),
        ("module/com1.txt", "no name"),
        ("module/COM².py", "no name"),
        ("x.", "no name"),
        ("x ", "no name"),
        ("worker.py:stream", "no name"),
        ("a\x1fb", "no name"),
        ("worker.py\x00.txt", "no name"),
        ("nul .txt", "no name"),  # to Windows this is the device too
        ("gpj.\u202eexe", "no name"),  # shown as another name, from right to left
        ("a\u200b", "no name"),
        ("a\x9b31m", "no name"),  # colours a terminal
        ("x" * 181, "too long"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name, why):
    refusal = _refusal(_zip(tmp_path / "m.zip", [("fine.txt", b"1"), (name, b"x")]))
    assert why in refusal.message
    assert refusal.code == "file_unsafe"


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["a.txt", "a.txt"], "twice"),
        (["worker.py", "Worker.PY"], "'Worker.PY'"),
        (["\u00e4.txt", "a\u0308.txt"], "holds"),
        (["stra\u00dfe", "STRASSE"], "holds"),
        (["\u0131.txt", "I.txt"], "holds"),
        (["a", "a/b"], "lies in a file"),
        (["A/b", "a"], "lies in a file"),
        (["custom/Mine/a", "custom/mine/b"], "folders"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_cannot_lie_beside_each_other_are_refused(tmp_path, names, why):
    refusal = _refusal(_zip(tmp_path / "m.zip", [(name, b"x") for name in names]))
    assert why in refusal.message
    assert refusal.code == "file_unsafe"


def test_what_is_no_plain_file_is_refused(tmp_path):
    link = _info("link", external_attr=(stat.S_IFLNK | 0o777) << 16)
    assert "is a link" in _refusal(_zip(tmp_path / "l.zip", [(link, b"/etc/passwd")])).message
    pipe = _info("pipe", external_attr=(stat.S_IFIFO | 0o777) << 16)
    assert "is a link" in _refusal(_zip(tmp_path / "p.zip", [(pipe, b"")])).message
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as made:
        made.writestr("x", b"1")
    assert "not used here" in _refusal(tmp_path / "lzma.zip").message
    content = bytearray(_zip(tmp_path / "e.zip", [("x", b"1")]).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of an encrypted file
    (tmp_path / "e.zip").write_bytes(content)
    assert "encrypted" in _refusal(tmp_path / "e.zip").message


def test_promises_of_many_bytes_are_refused_before_any_is_unpacked(tmp_path):
    bomb = _zip(tmp_path / "bomb.zip", [("zeros", bytes(65 << 20))])
    assert bomb.stat().st_size < 100_000
    assert "more than 64 MB" in _refusal(bomb).message
    many = _zip(tmp_path / "many.zip", [(f"{n}", b"") for n in range(10_001)])
    assert "10,000 files" in _refusal(many).message
    # Two entries of one content, as bombs of overlapping files have them.
    content = bytearray(_zip(tmp_path / "o.zip", [("a", bytes(500)), ("b", b"1")]).read_bytes())
    second = content.rindex(b"PK\x01\x02")
    content[second + 20 : second + 24] = (1 << 20).to_bytes(4, "little")
    (tmp_path / "o.zip").write_bytes(content)
    assert "more bytes than it has" in _refusal(tmp_path / "o.zip").message


def test_a_list_of_members_that_would_fill_the_memory_is_not_read(tmp_path):
    """`zipfile` reads all of it before anybody can count."""
    content = _zip(tmp_path / "one.zip", [("x", b"")]).read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    listing = content[start:end] * (11_000_000 // (end - start))
    size = len(listing).to_bytes(4, "little")
    last = content[end : end + 12] + size + content[end + 16 :]
    (tmp_path / "many.zip").write_bytes(content[:start] + listing + last)
    with zipfile.ZipFile(tmp_path / "many.zip") as lenient:
        assert len(lenient.infolist()) > 200_000
    tracemalloc.start()
    try:
        refusal = _refusal(tmp_path / "many.zip")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert "10,000 files" in refusal.message
    assert refusal.code == "file_unsafe"


def test_a_larger_record_at_the_end_counts_too(tmp_path):
    """As in a zip of more than 4 GB: that one is what `zipfile` follows."""
    content = _zip(tmp_path / "z.zip", [("x", b"")]).read_bytes()
    end = content.rindex(b"PK\x05\x06")
    large = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    (tmp_path / "z.zip").write_bytes(content[:end] + large + locator + content[end:])
    assert _refusal(tmp_path / "z.zip").code == "file_unsafe"


def test_what_is_no_zip_says_so(tmp_path):
    (tmp_path / "text.zip").write_text("no zip", "utf-8")
    assert _refusal(tmp_path / "text.zip").code == "file_damaged"
    (tmp_path / "empty.zip").write_bytes(b"")
    assert _refusal(tmp_path / "empty.zip").code == "file_damaged"
    assert _refusal(tmp_path / "absent.zip").code == "file_unreadable"
    assert _refusal(tmp_path).code == "file_unreadable"


@relaxed
@given(names=st.lists(NAMES, min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_whatever_is_taken_stays_below_its_folder_on_windows_too(tmp_path, names):
    path = _zip(tmp_path / "m.zip", [(name, b"x") for name in names])
    try:
        taken = _read(path)
    except BadInput:
        return
    assert taken == set(names)
    root = PureWindowsPath("C:/data/modules/x")
    for name in taken:
        place = root / name
        assert place.parts[: len(root.parts)] == root.parts
        assert not {"..", "."} & set(name.split("/"))
        assert not any(part.endswith((" ", ".")) or ":" in part for part in place.parts[4:])
        stems = {part.split(".")[0].strip().lower() for part in name.split("/")}
        assert not stems & {"con", "nul", "aux", "lpt¹"}
    assert len({unicodedata.normalize("NFC", n).upper() for n in taken}) == len(taken)


@relaxed
@given(content=st.binary(max_size=400), head=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06"]))
def test_no_bytes_make_it_stumble(tmp_path, content, head):
    path = tmp_path / "m.zip"
    path.write_bytes(head + content)
    with contextlib.suppress(BadInput):
        _read(path)


def test_what_is_written_depends_on_names_and_contents_alone(tmp_path):
    large = tmp_path / "weights.pt"
    large.write_bytes(bytes(range(256)) * 40)
    for name in ("one", "two"):
        found = archive.write(tmp_path / name, {"a.txt": b"a" * 500}, {"w/x": large})
        large.touch()
        large.chmod(0o755 if name == "one" else 0o644)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert found["w/x"].size == large.stat().st_size
    with zipfile.ZipFile(io.BytesIO((tmp_path / "one").read_bytes())) as made:
        packing = {info.filename: info.compress_type for info in made.infolist()}
    assert packing == {"a.txt": zipfile.ZIP_DEFLATED, "w/x": zipfile.ZIP_STORED}
