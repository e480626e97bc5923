"""How far a download is: real uv, a real server that is slow, and sizes as an index gives them."""

from __future__ import annotations

import io
import itertools
import re
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from rich.console import Console

from envmanager import console
from envmanager.data.paths import DataFolder, venv_python
from envmanager.data.settings import Settings
from envmanager.environments import downloads
from envmanager.environments.installation import Installation
from envmanager.events import CancelToken, LogLine, Progress, Stage
from envmanager.packages import lockfile
from envmanager.uv.program import Uv
from tests.local_index import LocalIndex
from tests.wheels import make_wheel, noise, requirement

windows = pytest.mark.windows
RATE = 1_500_000  # bytes per second and connection
CODE = "\n".join(f"def f{n}(x):\n    return x * {n * 7919 % 1000003}" for n in range(100_000))


def _deflated(wheel: Path) -> Path:
    """Pack a wheel as the tools of the trade do."""
    with zipfile.ZipFile(wheel) as archive:
        contents = [(entry, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in contents:
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Return wheels that pack badly, well and both, and a small one, which uv does not announce."""
    folder = tmp_path_factory.mktemp("wheels")
    mixed = {"mixed/code.py": CODE, "mixed/data.bin": noise(1_500_000), "mixed/more.py": CODE}
    contents = {
        "dense": {"dense/data.bin": noise(4_000_000)},
        "mixed": mixed,
        "small": {"small/data.bin": noise(100_000)},
    }
    return [_deflated(make_wheel(folder, name, "1.0", c)) for name, c in contents.items()]


@pytest.fixture
def uv(data_folder, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    return lambda index: Uv(DataFolder(data_folder), Settings(index_url=index.url))


def _installed(uv: Uv, wheels: list[Path], name: str = "generation"):
    """Install the wheels; return all events with their time."""
    folder = uv.data.root / name
    folder.mkdir()
    lock, pylock, events = folder / "requirements.lock", folder / "pylock.toml", []
    lock.write_text(requirement(*wheels), "utf-8")
    uv.make_venv(folder / ".venv", "")
    python = venv_python(folder / ".venv")
    uv.resolve(lock, python, pylock)

    def report(event):
        events.append((time.monotonic(), event))

    def fetched():
        report(Stage("install", ""))

    found = lockfile.wheels(pylock)
    Installation(folder, found, uv, report, CancelToken(), fetched).install()
    return events


def _progress(events) -> list[Progress]:
    return [event for _, event in events if isinstance(event, Progress)]


def _assert_sound(seen: list[Progress]) -> None:
    for before, after in itertools.pairwise(seen):
        assert 0 <= before.done <= after.done
    assert all(event.done <= event.total for event in seen if event.total)


@windows
def test_a_slow_download_is_seen_as_it_comes(uv, wheels):
    sizes = sum(wheel.stat().st_size for wheel in wheels)
    with LocalIndex(wheels, sizes=True) as index:
        index.fail("*.whl", bytes_per_s=RATE)
        events = _installed(uv(index), wheels)
    seen = _progress(events)
    _assert_sound(seen)
    assert {event.total for event in seen} == {sizes}
    assert seen[-1] == Progress(sizes, sizes, bytes_per_s=seen[-1].bytes_per_s)
    between = {event.done for event in seen if 0 < event.done < sizes}
    assert len(between) >= 3
    rates = [event.bytes_per_s for event in seen[2:-1] if event.bytes_per_s]
    assert rates
    assert max(rates) < 2 * len(wheels) * RATE
    left = [event.remaining_s for event in seen if event.remaining_s is not None]
    assert left
    assert min(left) < max(left)
    kinds = [event for _, event in events if not isinstance(event, Progress)]
    stage = kinds.index(Stage("install", ""))
    assert LogLine(" Downloaded dense") in kinds[:stage]
    assert any(event.text.startswith("Installed 3 packages") for event in kinds[stage + 1 :])


@windows
def test_what_the_cache_has_needs_no_download(uv, wheels):
    with LocalIndex(wheels, sizes=True) as index:
        index.headers["Cache-Control"] = "max-age=3600"
        _installed(uv(index), wheels[1:], "first")
        events = _installed(uv(index), wheels[1:], "again")
        again = _progress(events)  # before uv tells what it has, the sum of all may be named
        assert {event.done for event in again} == {0}
        assert again[-1] == Progress(0, 0)
        fresh = wheels[0].stat().st_size
        index.fail("*.whl", bytes_per_s=RATE)
        seen = _progress(_installed(uv(index), wheels, "more"))
    _assert_sound(seen)
    assert seen[-1].total == fresh
    assert {event.total for event in seen[1:]} == {fresh}


@windows
def test_an_index_without_sizes_gets_its_totals_as_downloads_start(uv, wheels):
    with LocalIndex(wheels) as index:
        index.fail("*.whl", bytes_per_s=RATE)
        seen = _progress(_installed(uv(index), wheels))
    _assert_sound(seen)
    assert seen[0].total == 0
    announced = sum(wheel.stat().st_size for wheel in wheels[:2])
    assert seen[-1].done == seen[-1].total == pytest.approx(announced, rel=0.03)
    assert any(0 < event.done < event.total for event in seen)


@windows
def test_a_connection_that_drops_takes_nothing_back(uv, wheels):
    with LocalIndex(wheels, sizes=True) as index:
        index.fail("*dense*.whl", bytes_per_s=2 * RATE, drop_after=2_500_000, times=1)
        seen = _progress(_installed(uv(index), wheels))
        assert index.requests["/simple/dense/dense-1.0-py3-none-any.whl"] >= 2
    _assert_sound(seen)
    assert seen[-1].done == seen[-1].total == sum(wheel.stat().st_size for wheel in wheels)


def test_the_bytes_of_a_wheel_follow_from_what_is_unpacked(tmp_path):
    """Its text packs to a fifth, its data not at all: at each moment the estimate is close."""
    stream, came = downloads._Stream(tmp_path), 0
    files = {"a.py": CODE.encode(), "b.bin": noise(2_000_000), "c.py": CODE.encode()}
    size = sum(len(zlib.compress(content)) for content in files.values())
    for name, content in files.items():
        packer = zlib.compressobj()
        with (tmp_path / name).open("wb", buffering=0) as file:
            for start in range(0, len(content), 300_000):
                part = content[start : start + 300_000]
                file.write(part)
                came += len(packer.compress(part))
                stream.look()
                assert stream.packed == pytest.approx(came, abs=0.05 * size)
        came += len(packer.flush())
    assert came == size


# ---- what people see ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(0, 0), ""),
        (Progress(1_500_000, 0), "1.5 MB"),
        (Progress(1_500_000, 0, None, 2e5), "1.5 MB, 200.0 kB/s"),
        (Progress(1_500_000, 3_000_000), "1.5 of 3.0 MB"),
        (Progress(1, 3_000_000_000, 61, 2e6), "1 B of 3.0 GB, 2.0 MB/s, 2 min left"),
        (Progress(1, 2, 11.2, 2), "1 of 2 B, 2 B/s, 12 s left"),
        (Progress(1, 2, 7260, 2), "1 of 2 B, 2 B/s, 2 h 1 min left"),
        (Progress(2, 2, 0, 2), "2 of 2 B, 2 B/s"),
    ],
)
def test_figures_for_people(progress, text):
    assert console.figures(progress) == text


def _steps(report, total, seconds):
    started = time.monotonic()
    report(Stage("download", "Downloading"))
    while (share := (time.monotonic() - started) / seconds) < 1:
        report(Progress(int(share * 1_000_000), total and 1_000_000, 1.0, 5e5))
        time.sleep(0.001)
    report(Progress(1_000_000, total and 1_000_000))


@pytest.mark.parametrize("total", [1_000_000, 0])
def test_a_log_gets_few_lines(capsys, monkeypatch, total):
    monkeypatch.setattr(console, "_LINES_S", 0.1)
    monkeypatch.setattr(console, "_SILENCE_S", 0.5)
    with console.progress() as report:
        _steps(report, total, 2.0)
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "Downloading ..."
    assert (5 <= len(lines) <= 10) if total else (2 <= len(lines) <= 4)
    assert all(re.match(r"  [\d.]+ kB( of 1.0 MB)?, 500.0 kB/s", line) for line in lines[:-1])


def test_a_terminal_gets_a_bar_with_the_figures():
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80)
    with console._bar(terminal) as bar:
        report = console._moving(bar)
        report(Stage("download", "Downloading"))
        report(Progress(1_500_000, 3_000_000, 9, 2e5))
        bar.refresh()
        assert "1.5 of 3.0 MB, 200.0 kB/s, 9 s left" in screen.getvalue()
        report(Stage("install", "Installing"))
        bar.refresh()
    assert "Installing" in screen.getvalue()
    assert "MB" not in screen.getvalue().rpartition("Installing")[2]
