"""Where a pipeline writes, for all of its images: no output replaces an image or another output."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envmanager.errors import BadInput, GA3EnvError
from envmanager.pipelines import matching, records
from envmanager.pipelines.document import Step
from envmanager.pipelines.problems import Problems


@dataclass(frozen=True)
class Target:
    """A step that saves, and the absolute path that it gives, in which ``%STEM%`` may stand."""

    step: Step
    template: str


def without_outputs(
    files: Sequence[Path], base: Path, targets: Sequence[Target]
) -> tuple[Path, ...]:
    """Leave out the files in a folder of outputs that lies below the folder of the images.

    So ``%INPUT_DIR%/**/*.tif`` does not find what an earlier run has saved to ``%INPUT_DIR%/out``,
    and ``%INPUT_DIR%/*.tif`` not what one has saved beside the images.
    """
    folders = {matching.output_folder(target.template) for target in targets}
    inner = [folder for folder in folders if folder != base and folder.is_relative_to(base)]
    saved = {path for folder in folders for path in records.written(folder)}
    left = (
        path
        for path in files
        if str(path) not in saved and not any(path.is_relative_to(one) for one in inner)
    )
    return tuple(left) or tuple(files)


def check(targets: Sequence[Target], files: Sequence[Path], base: Path, problems: Problems) -> None:
    """Note which steps would write over an image or over another output: one example each."""
    stems = matching.stems(files, base)
    places = _Places(files)
    for target in targets:
        for image in files:
            try:
                path = matching.output_path(target.template, stems[image], len(files) == 1)
                places.take(target, image, path)
            except GA3EnvError as error:
                line = target.step.line_of("inputs.path")
                problems.add(line, target.step.name, error.message, error.hint)
                break


class _Places:
    """The places of all images and outputs, behind links, whatever the case of their names."""

    def __init__(self, images: Sequence[Path]) -> None:
        self._folders: dict[Path, str] = {}  # a share may need long to tell what a link is
        self._images = {self._place(path) for path in images}
        self._inside = {self._place(path) for path in images if path.suffix.lower() == ".zarr"}
        self._taken: dict[str, tuple[Target, Path]] = {}

    def _place(self, path: Path) -> str:
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return matching.compared(f"{self._folders[folder]}{os.sep}{path.name}")

    def take(self, target: Target, image: Path, path: Path) -> None:
        """Note an output; refuse it where its place is taken."""
        place = self._place(path)
        if place in self._images or (
            self._inside and any(self._place(folder) in self._inside for folder in path.parents)
        ):
            raise BadInput(
                f"{path} would replace an image that is read.",
                "Save to another folder, or let the pattern not match what is saved.",
            )
        if place in self._taken:
            other, by = self._taken[place]
            same = f"another image, {by.name}," if other is target else f"step {other.step.name!r}"
            raise BadInput(f"{path} is also what {same} saves to.", "Give another name.")
        self._taken[place] = target, image
