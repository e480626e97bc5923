"""Where a pipeline writes, for all of its images: no output replaces an image or another output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envmanager.errors import GA3EnvError
from envmanager.pipelines import matching
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

    So ``%INPUT_DIR%/**/*.tif`` does not find what an earlier run has saved to ``%INPUT_DIR%/out``.
    """
    folders = {matching.output_folder(target.template) for target in targets}
    inner = [folder for folder in folders if folder != base and folder.is_relative_to(base)]
    left = (path for path in files if not any(path.is_relative_to(one) for one in inner))
    return tuple(left) or tuple(files)


def check(targets: Sequence[Target], files: Sequence[Path], base: Path, problems: Problems) -> None:
    """Note which steps would write over an image or over another output: one example each."""
    stems = matching.stems(files, base)
    images = {matching.real(path) for path in files}
    taken: dict[str, tuple[Target, Path]] = {}
    for target in targets:
        for image in files:
            try:
                path = matching.output_path(target.template, stems[image], len(files) == 1)
            except GA3EnvError as error:
                message, hint = error.message, error.hint
            else:
                message, hint = _conflict(target, path, images, taken)
                taken.setdefault(matching.real(path), (target, image))
            if message:
                problems.add(target.step.line_of("inputs.path"), target.step.name, message, hint)
                break


def _conflict(
    target: Target, path: Path, images: set[str], taken: dict[str, tuple[Target, Path]]
) -> tuple[str, str]:
    """Return what is wrong with an output and what to do about it; empty where nothing is."""
    place = matching.real(path)
    if place in images or any(matching.compared(folder) in images for folder in path.parents):
        return (
            f"{path} would replace an image that is read.",
            "Save to another folder, or let the pattern not match what is saved.",
        )
    if place not in taken:
        return "", ""
    other, image = taken[place]
    by = f"the step {other.step.name!r}" if other is not target else f"another image, {image.name},"
    return f"{path} is also what {by} saves to.", "Give another name."
