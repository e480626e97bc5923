"""How much an install will download and take on the disk, told before it begins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager.data import settings
from envmanager.data.paths import DataFolder
from envmanager.disk.volumes import Volume, volumes
from envmanager.packages import wheelhouse
from envmanager.packages.lockfile import Wheel
from envmanager.packages.wheel_store import WheelStore
from envmanager.uv import cache as uv_cache

# Allocated bytes of an unpacked wheel by the bytes of its file, in clusters of 4096. Measured on 33
# wheels for Linux as uv had unpacked them (271.6 MB became 990.3 MB: 3.65; scipy 3.3, numpy 3.5,
# torch for the CPU 3.8, small wheels of pure Python 4 to 6, which hardly count) and on three of
# NVIDIA's (curand, nvrtc, nvjitlink: 197.6 MB became 492.8 MB: 2.5).
_UNPACKED, _UNPACKED_NVIDIA = 3.65, 2.5
# What an environment has of its own beside the linked files, by their bytes: mostly what Python
# compiles at the first import. Measured on `classic`: 11.8 MB beside 239.7 MB.
_OWN = 0.05
# Beside what is needed 1 GB shall stay free for Windows, NIS-Elements and the images, or a tenth of
# what is needed where that is more: an estimate is the less exact the larger it is. A share of the
# volume would be no measure: a tenth of 4 TB is no shortage.
_KEPT_FREE = 1_000_000_000


@dataclass(frozen=True)
class Prediction:
    """What an install will take.

    Attributes
    ----------
    download_bytes : int
        Size of the wheels that uv's cache lacks.
    disk_bytes : int
        New bytes on all volumes, estimated from the sizes of the wheels.
    free_bytes : int
        Free bytes of the volume that comes closest to its limit.
    fits : bool
        Whether enough stays free on each volume.
    sentence : str
        The same for people.
    unknown : tuple of str
        Packages whose size the index does not tell; the figures lack them.
    """

    download_bytes: int
    disk_bytes: int
    free_bytes: int
    fits: bool
    sentence: str
    unknown: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Need:
    """What an install takes of a volume: to stay, and until it is published; in bytes."""

    volume: Volume
    lasting: int
    passing: int = 0

    @property
    def reserve(self) -> int:
        """What should stay free beside."""
        return max(_KEPT_FREE, self.lasting // 10)

    @property
    def spare(self) -> int:
        """What is left over; negative where something is missing."""
        return self.volume.free - self.lasting - self.passing - self.reserve


def predict(data: DataFolder, wheels: Iterable[Wheel]) -> Prediction:
    """Predict what the install of these wheels into a new environment takes."""
    wheels = list(wheels)
    missing = [wheel for wheel in wheels if not _is_cached(data.uv_cache, wheel)]
    fetched, linked = _unpacked(missing), _unpacked(wheels)
    own, passing = int(linked * _OWN), _kept_until_published(data, missing)
    found = volumes(data)
    if len(found) > 1:  # a cache on another volume cannot be linked from: copies are made
        needs = [_Need(found[0], linked + own, passing), _Need(found[1], fetched)]
    else:
        needs = [_Need(volume, fetched + own, passing) for volume in found]
    unknown = tuple(wheel.package for wheel in missing if not wheel.size)
    tightest = min(needs, key=lambda need: need.spare)
    return Prediction(
        download_bytes=sum(wheel.size for wheel in missing),
        disk_bytes=sum(need.lasting for need in needs),
        free_bytes=tightest.volume.free,
        fits=tightest.spare >= 0,
        sentence=_sentence(tightest, unknown),
        unknown=unknown,
    )


def _kept_until_published(data: DataFolder, missing: Iterable[Wheel]) -> int:
    """Return the bytes of the files of large wheels that are still to come."""
    limit, store = settings.resumable_above(data.settings), WheelStore(data)
    large = (wheel for wheel in missing if limit and wheel.size >= limit)
    return sum(wheel.size - store.come(wheel) for wheel in large if wheelhouse.is_remote(wheel))


def _unpacked(wheels: Iterable[Wheel]) -> int:
    return int(sum(wheel.size * _ratio(wheel) for wheel in wheels))


def _ratio(wheel: Wheel) -> float:
    return _UNPACKED_NVIDIA if wheel.package.startswith("nvidia-") else _UNPACKED


def _is_cached(cache: Path, wheel: Wheel) -> bool:
    """Tell whether uv's cache has a wheel; where it does not tell, the prediction is too large."""
    hashes = [digest for _, digest in wheel.files]
    return bool(uv_cache.origins(cache, wheel.package, wheel.version, hashes))


def _sentence(need: _Need, unknown: tuple[str, ...]) -> str:
    about = f"{'at least' if unknown else 'about'} {_gb(need.lasting)}"
    free = f"{_gb(need.volume.free)} free on the volume of {need.volume.path}"
    if need.spare >= 0:
        return f"The environment takes {about}; there are {free}."
    meanwhile = f", {_gb(need.passing)} more until it is installed" if need.passing else ""
    return (
        f"The environment may not fit: it takes {about}{meanwhile}, and {_gb(need.reserve)} "
        f"should stay free beside, but there are {free}."
    )


def _gb(number: int) -> str:
    return f"{number / 1e9:.2f} GB"
