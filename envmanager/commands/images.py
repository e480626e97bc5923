"""What is done with an installed module: segment images, make a node script, the demo."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envmanager import applog, console
from envmanager.commands.outcome import (
    EXIT_DONE,
    EXIT_FAILED,
    Add,
    Outcome,
    environments,
    progress,
)
from envmanager.data.paths import data_folder
from envmanager.errors import ImageError, NotInstalled
from envmanager.modules import catalog
from ga3_nodes import home, params

if TYPE_CHECKING:
    from envmanager import segmentation


def add_to(add: Add) -> None:
    """Add these commands to the parser."""
    demo = add("demo", demo_command, "install, segment and run a GA3 node, end to end")
    demo.add_argument("--image", type=Path, help="your own TIFF, ND2 or PNG")
    demo.add_argument("--nis", type=int, choices=(6, 7), default=6, help="NIS-Elements version")
    segment = add("segment", segment_command, "segment images", module=True)
    segment.add_argument(
        "image", nargs="+", help="image files, folders of them, and patterns such as '*.tif'"
    )
    segment.add_argument("-o", "--output", required=True, help="mask file, or a folder")
    segment.add_argument("--csv", action="store_true", help="also a table of the objects")
    segment.add_argument("--rois", action="store_true", help="also the objects as ImageJ ROIs")
    segment.add_argument("--overlay", action="store_true", help="also a PNG with the outlines")
    segment.add_argument("--save-preset", metavar="NAME", help="keep the parameters by this name")
    node = add("node", node_command, "the GA3 node script of a module", module=True)
    node.add_argument("--nis", type=int, choices=(6, 7), default=6, help="NIS-Elements version")
    node.add_argument("-o", "--output", type=Path, help="file to write instead")
    node.add_argument(
        "--binary", choices=("int32", "uint8"), default="int32", help="type of the node's binaries"
    )
    node.add_argument(
        "--channel", choices=("float", "uint16", "uint8"), default="float", help="of its channels"
    )
    node.add_argument("--name", default="", help="of the node's outputs in NIS")
    node.add_argument("--color", default="", metavar="#RRGGBB", help="of its first output")
    for command in (segment, node):
        command.add_argument("--function", default="segment")
        command.add_argument("-p", "--parameter", action="append", default=[], metavar="KEY=VALUE")
        command.add_argument("--preset", metavar="NAME", help="parameters that were kept by name")


def segment_command(options: argparse.Namespace) -> Outcome:
    """Segment images."""
    from envmanager import exporting, segmentation

    spec = segmentation.function_of(_published(options.module), options.function)
    parameters = _parameters(options, spec["parameters"])
    wanted = exporting.Wanted(options.csv, options.rois, options.overlay)
    images = _found(options.image)
    outputs = segmentation.output_paths(images, options.output, _stems(images))
    rows: list[dict[str, Any]] = []
    failed: list[segmentation.Failed] = []
    reasons: dict[str, list[str]] = {}  # what is wrong with many images is said once
    with progress() as report:
        # Rows, not results: a hundred masks need not stay in memory.
        for found in segmentation.segment_files(
            options.module,
            images,
            outputs,
            parameters,
            function=options.function,
            report=report,
            beside=wanted,
        ):
            if isinstance(found, segmentation.Failed):
                failed.append(found)
                if str(found.error) not in reasons:
                    applog.write_error(data_folder(), "segment", found.error)
                reasons.setdefault(str(found.error), []).append(str(found.input))
            else:
                rows.append(_row(found))

    def show() -> None:
        for row in rows:
            line = f"{Path(row['input']).name}: {row['objects']} objects in {row['seconds']:.2f} s"
            console.print_line(f"{line} ({row['device']}) -> {row['output']}")
        for reason, names in reasons.items():
            console.print_line(f"{', '.join(names)}: failed: {reason}")

    data = {"outputs": rows, "failed": [_failed_row(one) for one in failed]}
    return Outcome(data, show, EXIT_FAILED if failed else EXIT_DONE)


def _found(words: Sequence[str]) -> list[Path]:
    """Return the images that files, folders and patterns name, in the order of the words.

    cmd.exe of Windows hands patterns over as they are, and so does a quoted word elsewhere. A file
    that is called like a pattern, such as ``a [1].tif``, is that file. One that is missing stays:
    it fails as one image among the others.

    Raises
    ------
    ImageError
        A folder or a pattern holds no image, or cannot be looked through.
    """
    found: list[Path] = []
    for word in words:
        if _is_one(word):
            found.append(Path(word))
        else:
            known = {path.absolute() for path in found}
            found += [path for path in _matches(word) if path.absolute() not in known]
    return found


def _is_one(word: str) -> bool:
    """Tell a file, also one that is missing, from a folder of images and from a pattern."""
    from envmanager.reading import ome_zarr
    from envmanager.reading.series import ZARR

    if os.path.isdir(word):  # noqa: PTH112 - Path raises for a name that is too long
        return Path(word).suffix.lower() == ZARR or ome_zarr.is_zarr(Path(word))
    return os.path.lexists(word) or not set(word) & set("*?[")


def _matches(word: str) -> list[Path]:
    """Return the images of a folder or pattern; they are relative where it is."""
    from envmanager.pipelines import matching

    here = Path.cwd()
    try:
        found = matching.find(word, here)
    except OSError as error:
        raise ImageError(
            f"{error.filename or word} cannot be looked through: {error.strerror}.",
            "Give a folder that you may read.",
        ) from error
    if not found:
        hint = matching.contents(matching.base(word, here))
        raise ImageError(f"There is no image file {word}.", hint)
    inside = not Path(word).is_absolute()
    return [
        path.relative_to(here) if inside and path.is_relative_to(here) else path for path in found
    ]


def _stems(images: Sequence[Path]) -> list[str]:
    """Return how the masks are called where images of several folders have the same name."""
    from envmanager.pipelines import matching

    known = [path.absolute() for path in images]
    if len({path.stem.lower() for path in known}) == len({*known}):
        return []
    above = Path(os.path.commonpath([path.parent for path in known]))
    stems = matching.stems(known, above)
    return [stems[path] for path in known]


def _row(done: segmentation.Segmented) -> dict[str, Any]:
    return {
        "input": str(done.input),
        "output": str(done.output),
        "objects": done.objects,
        "seconds": done.seconds,
        "device": done.device,
        "notes": list(done.notes),
        **({"beside": [str(path) for path in done.beside]} if done.beside else {}),
    }


def _failed_row(failed: segmentation.Failed) -> dict[str, Any]:
    message, hint = failed.error.message, failed.error.hint
    return {"input": str(failed.input), "message": message, "hint": hint}


def _published(name: str) -> home.ModuleEntry:
    try:
        return home.published(name)
    except NotInstalled:
        catalog.find(name, data_folder())  # a misspelt name is told as such
        raise


def _parameters(options: argparse.Namespace, declared: params.Declarations) -> dict[str, Any]:
    """Return the values of a preset and of the words, which win; keep them where that is wished."""
    from envmanager import presets, segmentation
    from envmanager.presets import Preset

    data, values = data_folder(), {}
    if options.preset:
        found = presets.load(data, options.module, options.preset, options.function)
        values = found.parameters
    values = {**values, **segmentation.parse_parameters(options.parameter, declared)}
    complete = params.complete(declared, values)
    if name := getattr(options, "save_preset", None):  # with the defaults of this version
        presets.save(data, Preset(name, options.module, options.function, complete))
    return values


def node_command(options: argparse.Namespace) -> Outcome:
    """Make a node script."""
    from envmanager import nodes
    from envmanager.data import config, files

    module = catalog.find(options.module, data_folder())
    declared = module.functions.get(options.function, {}).get("parameters", {})
    values = _parameters(options, declared)
    text = nodes.script(
        module,
        values,
        nis=options.nis,
        function=options.function,
        name=options.name,
        color=options.color,
        binary=options.binary,
        channel=options.channel,
    )
    config.refresh(data_folder())  # a script of this app needs the client of this app
    if options.output:
        files.write_text(options.output, text)
    data = {"module": module.name, "nis": options.nis, "script": text}
    data["path"] = str(options.output) if options.output else None
    line = f"The node script is in {options.output}. Paste its text into the Python node."
    return Outcome(
        data,
        lambda: console.print_line(line) if options.output else print(text, end=""),
    )


def demo_command(options: argparse.Namespace) -> Outcome:
    """Run the demo."""
    from envmanager import demo

    with progress() as report:
        done = demo.run(environments(), image_path=options.image, report=report, nis=options.nis)

    def show() -> None:
        call = "running worker" if done.worker_was_running else "worker started"
        same = "the same as from the command line" if done.node_equals_cli else "DIFFERENT"
        console.print_pairs(
            {
                "image": done.image,
                "objects": done.objects,
                "first call": f"{done.first_call_s:.2f} s ({call})",
                "warm call": f"{done.warm_call_s:.3f} s",
                "GA3 node": f"{done.node_call_s:.3f} s in Python {done.node_python}, "
                f"its mask is {same}",
                "overlay": done.overlay,
                "mask": done.labels,
                "node script": done.node_script,
                "config": done.config,
                "environment": done.environment,
            }
        )

    exit_code = EXIT_DONE if done.node_equals_cli else EXIT_FAILED
    return Outcome(done.as_dict(), show, exit_code)
