"""Makes a pipeline file of a module and its parameters: what most people want of a batch."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envmanager.exporting import Wanted

_PLACE = "%OUTPUT_DIR%/%STEM%"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One function of a module over a folder of images.

    Attributes
    ----------
    outputs : mapping of str to str
        The function's outputs and their kinds: ``labels``, ``image`` or ``table``.
    selection : mapping
        What is taken of each file, as `load_tczyx_image` takes it, e.g. ``{"channels": 1}``.
    """

    module: str
    function: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    pattern: str = "*.tif"
    input_name: str = "image"
    name: str = ""
    selection: Mapping[str, Any] = field(default_factory=dict)
    beside: Wanted = field(default_factory=lambda: Wanted(csv=True))


def text_of(batch: Batch) -> str:
    """Return the YAML of a pipeline that reads from INPUT_DIR and writes to OUTPUT_DIR."""
    from ruamel.yaml import YAML

    pipeline = {
        "pipeline_name": batch.name or f"{batch.module} {batch.function}",
        "steps": [_load(batch), _call(batch), *_saves(batch)],
    }
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096  # no line of a path is folded
    stream = io.StringIO()
    yaml.dump(pipeline, stream)
    return stream.getvalue()


def _load(batch: Batch) -> dict[str, Any]:
    return {
        "name": "Load images",
        "module": "bioimage_pipeline_utils",
        "function": "load_tczyx_image",
        "inputs": {"path": f"%INPUT_DIR%/{_plain(batch.pattern)}", **batch.selection},
        "outputs": [{"name": "images"}],
    }


def _call(batch: Batch) -> dict[str, Any]:
    return {
        "name": "Run module",
        "module": batch.module,
        "function": batch.function,
        "inputs": {
            batch.input_name: "steps.Load images.outputs.images",
            **{name: _plain(value) for name, value in batch.parameters.items()},
        },
        "outputs": [{"name": name} for name in batch.outputs],
    }


def _plain(value: Any) -> Any:
    """Return a value in which nothing is taken for a variable."""
    return value.replace("%", "%%") if isinstance(value, str) else value


def _saves(batch: Batch) -> list[dict[str, Any]]:
    steps = []
    kinds = list(batch.outputs.values())
    for name, kind in batch.outputs.items():
        end = "" if kinds.count(kind) == 1 else f"_{name}"
        value = f"steps.Run module.outputs.{name}"
        if kind == "table":
            steps.append(_save(f"Save {name}", "save_table", f"_table{end}.csv", table=value))
        else:
            which, suffix = ("labels", "_labels") if kind == "labels" else ("image", "_result")
            path = f"{suffix}{end}.ome.tif"
            steps.append(_save(f"Save {name}", "save_tczyx_image", path, **{which: value}))
        if kind == "labels":
            steps += _beside(batch, name, value, end)
    return steps


def _beside(batch: Batch, name: str, labels: str, end: str) -> list[dict[str, Any]]:
    image = "steps.Load images.outputs.images"
    wanted = {
        f"Measure {name}": (batch.beside.csv, "save_objects_csv", f"_objects{end}.csv"),
        f"Draw {name}": (batch.beside.overlay, "save_overlay_png", f"_overlay{end}.png"),
        f"ROIs of {name}": (batch.beside.rois, "save_rois", f"_rois{end}.zip"),
    }
    return [
        _save(step, function, path, labels=labels)
        if function == "save_rois"
        else _save(step, function, path, image=image, labels=labels)
        for step, (is_wanted, function, path) in wanted.items()
        if is_wanted
    ]


def _save(step: str, function: str, path: str, **values: str) -> dict[str, Any]:
    return {
        "name": step,
        "module": "bioimage_pipeline_utils",
        "function": function,
        "inputs": {**values, "path": f"{_PLACE}{path}"},
    }
