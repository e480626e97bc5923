"""Large wheels are fetched by us, resumed, and installed by real uv; the server goes wrong."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from envmanager import disk
from envmanager.data import settings as settings_file
from envmanager.data import writers
from envmanager.data.paths import DataFolder, venv_python
from envmanager.data.settings import Settings
from envmanager.environments import large_wheels
from envmanager.environments.installation import Installation
from envmanager.errors import Cancelled, DownloadFailed, ToolFailed
from envmanager.events import CancelToken, LogLine, Progress, Stage
from envmanager.fetching import connection
from envmanager.packages import lockfile
from envmanager.packages.wheel_store import WheelStore
from envmanager.uv.program import Uv
from tests.file_server import Fault
from tests.wheel_server import WheelServer
from tests.wheels import make_wheel, noise, requirement

MB = 1_000_000
SIZE = 3 * MB
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """Return six wheels that are large by the setting of these tests, and one that is not."""
    folder = tmp_path_factory.mktemp("wheels")

    def made(name: str, size: int) -> Path:
        content = {f"{name}/__init__.py": "", f"{name}/data.bin": noise(size, seed=len(name))}
        return make_wheel(folder, name, "1.0", content)

    return {name: made(name, SIZE) for name in NAMES} | {"small": made("small", 100_000)}


@pytest.fixture
def server():
    with WheelServer() as server:
        yield server


@pytest.fixture
def uv(data_folder, server, monkeypatch) -> Uv:
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    found = Settings(index_url=server.index_url, resumable_downloads_above_mb=1)
    return Uv(DataFolder(data_folder), found)


class Place:
    """One environment that wheels are installed into, with all events."""

    def __init__(self, uv: Uv, wheels: list[Path], name: str = "generation") -> None:
        self.uv, self.folder = uv, uv.data.root / name
        self.folder.mkdir(exist_ok=True)
        self.pylock = self.folder / "pylock.toml"
        self.events: list[object] = []
        self.cancel = CancelToken()
        lock = self.folder / "requirements.lock"
        lock.write_text(requirement(*wheels), "utf-8")
        uv.make_venv(self.folder / ".venv", "")
        uv.resolve(lock, venv_python(self.folder / ".venv"), self.pylock)
        self.text = self.pylock.read_text("utf-8")
        self.installation = Installation(
            self.folder,
            lockfile.wheels(self.pylock),
            replace(uv, cancel=self.cancel),
            self.events.append,
            self.cancel,
            lambda: self.events.append(Stage("install", "")),
        )

    def install(self) -> Place:
        self.events.clear()
        self.installation.install()
        self.progress = [event for event in self.events if isinstance(event, Progress)]
        return self

    @property
    def site(self) -> Path:
        return self.installation.site

    @property
    def told(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, LogLine)]

    def data(self, name: str) -> Path:
        return self.site / name / "data.bin"

    def assert_sound(self) -> None:
        """Compare all files with their wheels, and look at the progress."""
        assert not self.installation.check(lambda: None)
        assert self.pylock.read_text("utf-8") == self.text
        assert not (self.folder / large_wheels.LOCAL).exists()
        for before, after in itertools.pairwise(self.progress):
            assert 0 <= before.done <= after.done
        assert all(one.done <= one.total for one in self.progress if one.total)


def _total(wheels) -> int:
    return sum(wheel.stat().st_size for wheel in wheels)


# ---- what is asked for, and what is not ---------------------------------------------------------


def test_the_large_ones_come_first_and_uv_gets_the_rest(uv, server, wheels):
    chosen = [wheels["alpha"], wheels["beta"], wheels["small"]]
    for wheel in chosen:
        server.add(wheel, Fault(bytes_per_s=6 * MB))
    place = Place(uv, chosen).install()
    place.assert_sound()
    assert [server.sent(wheel.name) for wheel in chosen[:2]] == [
        [size] for size in _sizes(chosen[:2])
    ]
    assert {one.total for one in place.progress} == {_total(chosen)}
    assert place.progress[-1].done == _total(chosen)
    assert any(0 < one.done < 2 * SIZE and one.remaining_s for one in place.progress)
    assert all(place.data(name).stat().st_nlink == 2 for name in ("alpha", "beta", "small"))
    store = WheelStore(uv.data)
    assert all(
        store.has(wheel) == (wheel.package != "small") for wheel in place.installation.wheels
    )


def _sizes(wheels) -> list[int]:
    return [wheel.stat().st_size for wheel in wheels]


def test_the_next_install_links_the_same_bytes_without_files_or_network(uv, server, wheels):
    """Also where the data folder was moved in between, and the setting was turned off."""
    for name in ("alpha", "beta"):
        server.add(wheels[name])
    first = Place(uv, [wheels["alpha"]]).install()
    shutil.rmtree(uv.data.downloads)
    uv.data.root.joinpath("uv-cache").rename(uv.data.root.parent / "cache")
    moved = DataFolder(uv.data.root.parent)
    moved.root.joinpath("cache").rename(moved.uv_cache)
    off = replace(uv, data=moved, settings=replace(uv.settings, resumable_downloads_above_mb=0))
    second = Place(off, [wheels["alpha"], wheels["beta"]], "again").install()
    second.assert_sound()
    assert len(server.sent(wheels["alpha"].name)) == 1
    assert first.data("alpha").samefile(second.data("alpha"))
    assert second.progress[-1].total == wheels["beta"].stat().st_size
    assert not moved.downloads.exists()  # uv fetched beta, as the setting says


def test_offline_the_store_is_enough_and_nothing_is_fetched(uv, server, wheels):
    server.add(wheels["alpha"])
    place = Place(uv, [wheels["alpha"]])
    place.install()
    shutil.rmtree(uv.data.uv_cache)
    shutil.rmtree(place.folder / ".venv")
    uv.make_venv(place.folder / ".venv", "")
    server.asked.clear()
    offline = replace(uv, settings=replace(uv.settings, offline=True))
    place.installation = replace(place.installation, uv=offline)
    place.install().assert_sound()
    shutil.rmtree(uv.data.uv_cache)
    shutil.rmtree(uv.data.downloads)
    (place.data("alpha")).write_bytes(b"damaged")
    with pytest.raises(ToolFailed):
        place.installation.check(lambda: None)
    assert not server.asked


def test_a_file_in_the_store_goes_before_what_uv_would_ask_the_server_about(uv, server, wheels):
    """As a bundle puts them there: no network, and a cache that is not sure of its own."""
    for name in ("alpha", "small"):
        server.add(wheels[name])
    chosen = [wheels["alpha"], wheels["small"]]
    off = replace(uv, settings=replace(uv.settings, resumable_downloads_above_mb=0))
    Place(off, chosen, "first").install()
    second = Place(off, chosen)
    for wheel, file in zip(second.installation.wheels, chosen, strict=True):
        place = WheelStore(uv.data).place(wheel)
        place.parent.mkdir(parents=True)
        shutil.copy(file, place)
    server.login = "nobody:knows"
    second.install().assert_sound()


# ---- faults -------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Let a silent server be given up after a second."""
    silence = connection.Silence(5.0, 1.0)
    monkeypatch.setattr(
        large_wheels, "Connections", partial(connection.Connections, silence=silence)
    )


def test_a_server_that_goes_wrong_in_each_way_costs_the_rest_only(uv, server, wheels, quick):
    size = wheels["alpha"].stat().st_size
    moved = server.put("elsewhere", wheels["delta"].read_bytes())
    faults = {
        "alpha": [Fault(drop_after=MB)],
        "beta": [Fault(reset_after=MB // 2), Fault(status=500)],
        "gamma": [Fault(stall_after=MB)],
        "delta": [Fault(status=302, headers={"Location": moved})],
        "epsilon": [Fault(status=429, headers={"Retry-After": "1"})],
    }
    for name, wrong in faults.items():
        server.add(wheels[name], *wrong)
    server.add(wheels["zeta"], Fault(drop_after=MB), ranges=False)
    place = Place(uv, [wheels[name] for name in NAMES]).install()
    place.assert_sound()
    sent = {name: server.sent(wheels[name].name) for name in NAMES}
    assert sent["alpha"] == sent["gamma"] == [MB, size - MB]
    assert len(sent["beta"]) == 3
    assert sum(sent["beta"]) <= size + MB // 2  # a reset takes what is on its way
    assert sent["delta"] == [0]
    assert sent["epsilon"] == [0, wheels["epsilon"].stat().st_size]
    assert sent["zeta"] == [MB, wheels["zeta"].stat().st_size]  # it knows no ranges
    assert any("trying again" in line for line in place.told)
    assert {one.total for one in place.progress} == {_total(wheels[name] for name in NAMES)}


def test_a_file_that_changes_between_two_tries_is_refused(uv, server, wheels):
    server.add(wheels["alpha"])
    place = Place(uv, [wheels["alpha"]])
    page = dict(server.files)
    server.put(wheels["alpha"].name, wheels["alpha"].read_bytes(), Fault(stall_after=MB))
    _cancel_at(place, MB)
    other = noise(wheels["alpha"].stat().st_size, seed=99)
    server.put(wheels["alpha"].name, other)
    again = Place(uv, [wheels["alpha"]], "again")
    with pytest.raises(DownloadFailed, match="not the file that was expected") as failed:
        again.install()
    assert failed.value.code == "download_sha256"
    assert list(again.site.glob("alpha*")) == []
    server.files.update(page)
    again.install().assert_sound()


def test_a_server_that_lies_about_the_length_is_refused(uv, server, wheels):
    server.add(wheels["alpha"])
    place = Place(uv, [wheels["alpha"]])
    server.files[f"/{wheels['alpha'].name}"].faults[:] = [Fault(extra=7)]
    with pytest.raises(DownloadFailed) as failed:
        place.install()
    assert failed.value.code == "download_size"


@pytest.mark.parametrize("status", [401, 403])
def test_what_asks_for_a_password_is_left_to_uv(uv, server, wheels, status):
    for name in ("alpha", "beta"):
        server.add(wheels[name])
    place = Place(uv, [wheels["alpha"], wheels["beta"]])
    server.files[f"/{wheels['alpha'].name}"].faults[:] = [Fault(status=status)]
    place.install().assert_sound()
    assert any("uv tries it by itself" in line for line in place.told)
    assert server.sent(wheels["alpha"].name) == [0, wheels["alpha"].stat().st_size]
    assert not WheelStore(uv.data).has(_wheel(place, "alpha"))
    assert WheelStore(uv.data).has(_wheel(place, "beta"))


def test_a_password_in_the_address_of_the_index_is_for_uv_alone(uv, server, wheels):
    """The addresses of a pylock.toml have none: uv knows it from the setting."""
    server.add(wheels["alpha"])
    server.login = "lab:secret"
    url = server.index_url.replace("//", "//lab:secret@")
    place = Place(replace(uv, settings=replace(uv.settings, index_url=url)), [wheels["alpha"]])
    place.install().assert_sound()
    assert server.sent(wheels["alpha"].name) == [0, wheels["alpha"].stat().st_size]
    assert not any("secret" in line for line in place.told)


def _wheel(place: Place, name: str) -> lockfile.Wheel:
    return next(wheel for wheel in place.installation.wheels if wheel.package == name)


def test_one_that_fails_stops_the_others_and_keeps_what_came(uv, server, wheels):
    for name in ("alpha", "beta"):
        server.add(wheels[name])
    place = Place(uv, [wheels["alpha"], wheels["beta"]])
    server.files[f"/{wheels['alpha'].name}"].faults[:] = [Fault(status=404)] * 9
    server.files[f"/{wheels['beta'].name}"].faults[:] = [Fault(stall_after=MB)]
    with pytest.raises(DownloadFailed) as failed:
        place.install()
    assert failed.value.code == "download_not_found"
    server.go.set()
    server.files[f"/{wheels['alpha'].name}"].faults.clear()
    Place(uv, [wheels["alpha"], wheels["beta"]], "again").install().assert_sound()
    assert sum(server.sent(wheels["beta"].name)) <= wheels["beta"].stat().st_size + MB


# ---- breaking off, and going on -----------------------------------------------------------------


def _cancel_at(place: Place, done: int) -> float:
    """Cancel an install once so many bytes are there; return the seconds that it took to end."""
    asked: list[float] = []

    def report(event):
        place.events.append(event)
        if isinstance(event, Progress) and event.done >= done and not asked:
            asked.append(time.monotonic())
            place.cancel.cancel()

    with pytest.raises(Cancelled):
        replace(place.installation, report=report).install()
    return time.monotonic() - asked[0]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cancelled_download_goes_on_where_it_was(uv, server, wheels, ranges):
    wheel, size = wheels["alpha"], wheels["alpha"].stat().st_size
    server.add(wheel, Fault(stall_after=2 * MB), ranges=ranges)
    assert _cancel_at(Place(uv, [wheel]), 2 * MB) < 10
    again = Place(uv, [wheel], "again").install()
    again.assert_sound()
    assert server.sent(wheel.name) == [2 * MB, size - 2 * MB if ranges else size]
    if ranges:
        assert again.progress[0].done >= 2 * MB


def test_two_installs_at_once_fetch_a_wheel_once(uv, server, wheels):
    server.add(wheels["alpha"], Fault(bytes_per_s=4 * MB))
    places = [Place(uv, [wheels["alpha"]], name) for name in ("one", "two")]
    threads = [threading.Thread(target=place.install) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for place in places:
        place.assert_sound()
    assert server.sent(wheels["alpha"].name) == [wheels["alpha"].stat().st_size]


@pytest.mark.parametrize("by_us", [True, False])
def test_a_damaged_cache_is_mended_by_a_resumable_download(uv, server, wheels, by_us):
    """Whoever filled the cache; the file of the store, if there is one, serves for it."""
    server.add(wheels["alpha"])
    first = (
        uv if by_us else replace(uv, settings=replace(uv.settings, resumable_downloads_above_mb=0))
    )
    Place(first, [wheels["alpha"]], "first").install()
    shutil.rmtree(uv.data.downloads, ignore_errors=True)
    place = Place(uv, [wheels["alpha"]]).install()
    with place.data("alpha").open("rb+") as file:
        file.write(b"damage")
    server.files[f"/{wheels['alpha'].name}"].faults[:] = [Fault(drop_after=MB)]
    server.asked.clear()
    assert place.installation.check(lambda: None)
    place.assert_sound()
    size = wheels["alpha"].stat().st_size
    assert server.sent(wheels["alpha"].name) == [MB, size - MB]


# ---- the store ----------------------------------------------------------------------------------


def _kept(uv: Uv, name: str = "abc") -> Path:
    folder = uv.data.downloads / name
    folder.mkdir(parents=True)
    (folder / "x-1-py3-none-any.whl.part").write_bytes(b"x" * 1000)
    return folder


def test_what_nobody_comes_back_for_goes(uv):
    old, young = _kept(uv, "old"), _kept(uv, "young")
    for path in (*old.iterdir(), old):
        os.utime(path, (0, 0))
    assert WheelStore(uv.data).sweep() == 1000
    assert (old.exists(), young.exists()) == (False, True)


def test_nothing_goes_while_another_module_is_built(uv, server, wheels):
    server.add(wheels["alpha"])
    place = Place(uv, [wheels["alpha"]]).install()
    store, found = WheelStore(uv.data), place.installation.wheels
    with writers.sole(uv.data, "mine"):
        with writers.sole(uv.data, "other"):
            store.release(found, "mine")
            assert store.sweep(everything=True) == 0
            assert store.has(found[0])
        store.sweep("mine")
    assert not uv.data.downloads.exists()


def test_the_disk_figures_know_it_and_the_cleaning_too(uv):
    kept = _kept(uv)
    before = disk.overview(uv.data)
    assert before.parts["downloads"].own >= 1000
    assert disk.clean_cache(uv, uv.data) >= 1000
    assert not kept.exists()
    assert disk.overview(uv.data).parts["downloads"].total == 0


def test_the_prediction_counts_the_files_that_lie_there_meanwhile(uv, server, wheels, monkeypatch):
    server.add(wheels["alpha"])
    place = Place(uv, [wheels["alpha"]])
    size = wheels["alpha"].stat().st_size
    settings_file.change(uv.data.settings, "resumable_downloads_above_mb", ["1"])
    lasting = disk.predict(uv.data, place.installation.wheels).disk_bytes

    def fits(free: int) -> bool:
        volume = disk.Volume("x", 10**12, free)
        monkeypatch.setattr("envmanager.disk.prediction.volumes", lambda data: (volume,))
        return disk.predict(uv.data, place.installation.wheels).fits

    enough = lasting + 10**9 + size
    assert fits(enough)
    assert not fits(enough - 1)
    settings_file.change(uv.data.settings, "resumable_downloads_above_mb", ["0"])
    assert fits(enough - size)
