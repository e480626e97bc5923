"""Patterns become files, and files the names of outputs.

A pattern has ``*`` (any characters), ``?`` (one), ``[abc]`` (one of them) and ``**`` (any folders),
with ``/`` or ``\\`` between folders. It is matched without regard to case, so that ``*.tif`` also
finds ``A.TIF`` on every system. A folder stands for all images in it.

An output gets its name from the STEM of its image: the file's name without suffix, after the
folders between the pattern's base and the file.
"""

from __future__ import annotations

import fnmatch
import ntpath
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath

from envmanager.errors import BadInput
from envmanager.reading.series import SUFFIXES

STEM = "%STEM%"
ZARR = ".zarr"
IMAGES = frozenset({*SUFFIXES, ZARR})
_DOUBLE = (".ome.tif", ".ome.tiff", ".ome.btf", ".ome.zarr")
_TEMPORARY = ".tmp"
_WILD = re.compile(r"[*?\[]")
_POSITION = re.compile(r"(.+)_p\d{2,}")
Pattern = str | Sequence[str]


# ---- files of a pattern --------------------------------------------------------------------------


def absolute(text: str, folder: Path) -> str:
    """Return a path of a pipeline: relative ones are relative to `folder`, any slash is one.

    Raises
    ------
    BadInput
        It begins with a drive, and this system has none.
    """
    plain = text.strip().replace("\\", "/")
    if not ntpath.splitdrive(plain)[0] or plain.startswith("/"):
        return os.path.normpath(folder.absolute() / plain)
    if not Path(plain).is_absolute():
        raise BadInput(
            f"{text.strip()!r} is no full path on this computer.",
            "Use %INPUT_DIR% and %OUTPUT_DIR%, so that the pipeline runs on any computer.",
        )
    return os.path.normpath(plain)


def find(pattern: Pattern, base_dir: Path) -> tuple[Path, ...]:
    """Return the images that a pattern matches.

    Hidden files and unfinished ones (``*.tmp``) are left out; a ``.zarr`` folder is one image.

    Parameters
    ----------
    pattern : str or sequence of str
        One or several; what several match is given once.
    base_dir : Path
        What relative patterns are relative to.

    Returns
    -------
    tuple of Path
        Absolute, in natural order (``a2`` before ``a10``).

    Raises
    ------
    OSError
        A folder cannot be read.
    BadInput
        A path of another system.
    """
    found: dict[str, Path] = {}
    for one in _all(pattern):
        start, parts = _split(one, base_dir)
        for path in _matches(start, parts):
            found.setdefault(os.path.normcase(path), path)
    return tuple(sorted(found.values(), key=natural))


def base(pattern: Pattern, base_dir: Path) -> Path:
    """Return the folder that a pattern begins in; of several the one that holds all of them."""
    folders = [_base(one, base_dir) for one in _all(pattern)]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # on several drives of Windows
        return folders[0]


def natural(path: Path) -> tuple[object, ...]:
    """Return a key that sorts paths as people do: ``a2`` before ``a10``, folder by folder."""
    return (*(_natural(part) for part in path.parts), str(path))


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.split(r"([0-9]+)", text.casefold())
    return tuple((1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts if p)


def _all(pattern: Pattern) -> tuple[str, ...]:
    return (pattern,) if isinstance(pattern, str) else tuple(pattern)


def _split(pattern: str, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Return where a pattern starts, and what of it is to be matched below.

    A part that exists by just that name is no wildcard: folders may be called ``Sample [1]``.
    """
    place = Path(absolute(pattern, folder))
    start = Path(place.anchor)
    parts = place.parts[1:] if place.anchor else place.parts
    for number, part in enumerate(parts):
        if _WILD.search(part) and not os.path.lexists(start / part):
            return start, parts[number:]
        start = start / part
    return start, ()


def _base(pattern: str, folder: Path) -> Path:
    start, parts = _split(pattern, folder)
    return start if parts or _is_folder(start) else start.parent


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix.lower() != ZARR


def _matches(start: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    if parts:
        yield from _below(start, parts)
    elif _is_folder(start):
        yield from _below(start, ("*",))
    elif start.exists():
        yield start


def _below(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Yield what the parts of a pattern match below a folder."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _below(folder, rest or ("*",))
        for entry in _entries(folder):
            # A link may lead back up: it is not followed here.
            if entry.is_dir(follow_symlinks=False) and _is_folder(Path(entry.path)):
                yield from _below(folder / entry.name, parts)
        return
    if rest and not _WILD.search(part):
        if (folder / part).is_dir():
            yield from _below(folder / part, rest)
        return
    fits = re.compile(fnmatch.translate(_plain(part)))
    for entry in _entries(folder, hidden=part.startswith(".")):
        if not fits.match(_plain(entry.name)):
            continue
        path = folder / entry.name
        if rest and _is_folder(path):
            yield from _below(path, rest)
        elif not rest and _is_wanted(path, part):
            yield path


def _is_wanted(path: Path, part: str) -> bool:
    """Tell whether an entry is meant: where a pattern leaves the suffix open, images are."""
    if path.is_dir() and path.suffix.lower() != ZARR:
        return False
    stem_and_suffix = part.rpartition(".")
    is_open = not stem_and_suffix[1] or bool(_WILD.search(stem_and_suffix[2]))
    return not is_open or is_image(path)


def is_image(path: Path) -> bool:
    """Tell by the suffix whether a file can be read as an image."""
    return path.suffix.lower() in IMAGES


def _entries(folder: Path, *, hidden: bool = False) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [
            entry
            for entry in entries
            if (hidden or not entry.name.startswith("."))
            and not entry.name.lower().endswith(_TEMPORARY)
        ]


def _plain(name: str) -> str:
    """Return a name as it is compared: without case, é always as one character."""
    return unicodedata.normalize("NFC", name).casefold()


# ---- names of outputs ----------------------------------------------------------------------------


def stems(files: Sequence[Path], base: Path) -> dict[Path, str]:
    """Return the STEM of each file: no two are alike, also where case does not count.

    Files that would share one get their suffix too: ``a.tif`` and ``a.png`` become ``a_tif`` and
    ``a_png``. Folders are separated by ``/``.

    Parameters
    ----------
    base : Path
        The folder that the pattern begins in, see `base`.
    """
    plain = {path: _stem(path, base, with_suffix=False) for path in files}
    count = Counter(_plain(stem) for stem in plain.values())
    found: dict[Path, str] = {}
    taken: set[str] = set()
    for path in files:
        stem = plain[path]
        if count[_plain(stem)] == 1 and not _is_position(stem, count):
            found[path] = stem
            taken.add(_plain(stem))
    for path in files:
        if path not in found:
            found[path] = _free(_stem(path, base, with_suffix=True), taken)
            taken.add(_plain(found[path]))
    return {path: found[path] for path in files}


def _stem(path: Path, base: Path, *, with_suffix: bool) -> str:
    stem, suffix = split_suffix(path.name)
    if with_suffix and suffix:
        stem += suffix.replace(".", "_")
    if not stem.strip(". "):  # it would be a folder: "...tif" has the stem ".."
        stem = path.name.replace(".", "_")
    folder = path.parent
    inner = folder.relative_to(base).as_posix() if folder.is_relative_to(base) else ""
    return stem if inner in ("", ".") else f"{inner}/{stem}"


def _is_position(stem: str, count: Mapping[str, int]) -> bool:
    """Tell whether a STEM is what a position of another file would be called."""
    match = _POSITION.fullmatch(stem)
    return bool(match) and _plain(match[1] if match else "") in count


def _free(stem: str, taken: set[str]) -> str:
    number, free = 1, stem
    while _plain(free) in taken:
        number += 1
        free = f"{stem}_{number}"
    return free


def split_suffix(name: str) -> tuple[str, str]:
    """Return a file's name and its suffix; ``.ome.tif`` counts as one."""
    for suffix in _DOUBLE:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix), suffix


def with_position(stem: str, p: int, count: int) -> str:
    """Return the STEM of a position, from 0, of a file that has `count` of them."""
    if count <= 1:
        return stem
    return f"{stem}_p{p + 1:0{max(2, len(str(count)))}d}"


def output_path(template: str, stem: str, single: bool) -> Path:
    """Return the path of an output.

    Where exactly one image flows that is the path as written, else a file of each image's own:
    ``%STEM%`` is filled in, or put before the file's name (``masks.tif`` -> ``a_masks.tif``).

    Parameters
    ----------
    template : str
        The absolute path of a save step, in which ``%STEM%`` may stand.
    single : bool
        Whether exactly one image flows.

    Raises
    ------
    BadInput
        The path would leave the folder of the template.
    """
    folder = output_folder(template)
    inner = os.path.relpath(template, folder)
    if STEM in inner:
        inner = inner.replace(STEM, stem)
    elif not single:
        inner = f"{stem}_{inner}"
    if _leaves(inner):
        raise BadInput(
            f"The output {inner} would lie outside of {folder}.", "Rename the image, or the output."
        )
    return Path(os.path.normpath(folder / inner))


def output_folder(template: str) -> Path:
    """Return the folder below which all outputs of a save step lie."""
    path = Path(template)
    for parent in reversed(path.parents):
        if STEM in parent.name:
            return parent.parent
    return path.parent


def _leaves(inner: str) -> bool:
    path = PurePath(inner)
    return ".." in path.parts or bool(path.anchor)


def compared(path: str) -> str:
    """Return a path as two are compared: on some systems case and the form of é do not count."""
    return _plain(os.path.normpath(path))


def contents(folder: Path) -> str:
    """Say what a folder holds, such as ``holds 3 .nd2 and 1 .txt``: why a pattern finds nothing."""
    if not folder.is_dir():
        return f"There is no folder {folder}."
    count = Counter(Path(entry.name).suffix.lower() or "others" for entry in _entries(folder))
    if not count:
        return f"{folder} is empty."
    return f"{folder} holds " + ", ".join(f"{n} {kind}" for kind, n in count.most_common(5)) + "."
