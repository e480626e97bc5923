"""How much an install will download and take on the disk, told before it begins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager.data.paths import DataFolder
from envmanager.disk.volumes import Volume, volumes
from envmanager.packages.lockfile import Wheel

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


def predict(data: DataFolder, wheels: Iterable[Wheel]) -> Prediction:
    """Predict what the install of these wheels into a new environment takes."""
    wheels = list(wheels)
    missing = [wheel for wheel in wheels if not _is_cached(data.uv_cache, wheel)]
    fetched, linked = _unpacked(missing), _unpacked(wheels)
    own = int(linked * _OWN)
    found = volumes(data)
    # A cache on another volume cannot be linked from: the environment gets copies.
    needs = [linked + own, fetched] if len(found) > 1 else [fetched + own]
    pairs = list(zip(found, needs, strict=False))
    unknown = tuple(wheel.package for wheel in missing if not wheel.size)
    volume, needed = min(pairs, key=lambda pair: pair[0].free - _with_reserve(pair[1]))
    return Prediction(
        download_bytes=sum(wheel.size for wheel in missing),
        disk_bytes=sum(needs),
        free_bytes=volume.free,
        fits=volume.free >= _with_reserve(needed),
        sentence=_sentence(volume, needed, unknown),
        unknown=unknown,
    )


def _unpacked(wheels: Iterable[Wheel]) -> int:
    return int(sum(wheel.size * _ratio(wheel) for wheel in wheels))


def _ratio(wheel: Wheel) -> float:
    return _UNPACKED_NVIDIA if wheel.package.startswith("nvidia-") else _UNPACKED


def _with_reserve(needed: int) -> int:
    return needed + max(_KEPT_FREE, needed // 10)


def _is_cached(cache: Path, wheel: Wheel) -> bool:
    """Tell whether uv's cache has a wheel: a file of its package there holds the wheel's sha256.

    The layout is that of the pinned uv; another one would make the prediction too large, no more.
    """
    hashes = [digest.encode() for _, digest in wheel.files if digest]
    pattern = f"{wheel.package}/{wheel.version}-*"
    pointers = [*cache.glob(f"wheels-v*/*/{pattern}"), *cache.glob(f"wheels-v*/*/*/{pattern}")]
    for pointer in pointers:
        if pointer.suffix in (".http", ".rev") and pointer.is_file():
            content = pointer.read_bytes()
            if any(digest in content for digest in hashes):
                return True
    return False


def _sentence(volume: Volume, needed: int, unknown: tuple[str, ...]) -> str:
    about = f"{'at least' if unknown else 'about'} {_gb(needed)}"
    free = f"{_gb(volume.free)} free on the volume of {volume.path}"
    if volume.free >= _with_reserve(needed):
        return f"The environment takes {about}; there are {free}."
    reserve = _gb(_with_reserve(needed) - needed)
    return (
        f"The environment may not fit: it takes {about}, and {reserve} should stay free beside, "
        f"but there are {free}."
    )


def _gb(number: int) -> str:
    return f"{number / 1e9:.2f} GB"
