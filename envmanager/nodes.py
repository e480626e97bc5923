"""Generates the GA3 node script of a module's function, for the NIS version that runs it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from string import Template
from typing import Any

from envmanager.catalog import Module
from envmanager.errors import BadInput
from envmanager.paths import NODE_PACKAGE
from ga3_nodes import params

_SIGNATURES = {
    6: {"OUTPUT_ARGS": "inp, out", "BUILD_ARGS": "loops", "RUN_ARGS": "inp, out, ctx"},
    7: {
        "OUTPUT_ARGS": "inp, out, par",
        "BUILD_ARGS": "par, loops",
        "RUN_ARGS": "inp, out, par, ctx",
    },
}
_MAIN = {
    6: "    limnode.child_main(run, output, build)",
    7: "    from limnode import print\n\n    limnode.child_main(run, output, build)",
}
_NAMES = {6: "6.10 and 6.20", 7: "7.x"}


def script(
    module: Module, values: Mapping[str, Any], *, nis: int = 6, function: str = "segment"
) -> str:
    """Return the text of a node script.

    Parameters
    ----------
    values : mapping
        Parameters that differ from the module's defaults.
    nis : int
        6 for NIS-Elements 6.10 and 6.20, 7 for 7.x and NIS-Express 2.x: the functions' signatures
        differ.

    Raises
    ------
    BadInput
        The function is unknown or gives no labels, or a value does not fit.
    """
    spec = module.functions.get(function)
    if spec is None:
        raise BadInput(
            f"{module.name} has no function {function!r}.", f"It has {', '.join(module.functions)}."
        )
    if len(spec["inputs"]) != 1:
        raise BadInput(f"{function} of {module.name} takes {len(spec['inputs'])} images, not one.")
    outputs = [name for name, output in spec["outputs"].items() if output["kind"] == "labels"]
    if not outputs:
        raise BadInput(f"{function} of {module.name} gives no label mask.")
    template = (NODE_PACKAGE / "nodes" / "labels.py.txt").read_text("utf-8")
    return Template(template).substitute(
        TITLE=module.title,
        QUOTED_TITLE=json.dumps(module.title, ensure_ascii=False),
        VERSION=module.version,
        NIS=_NAMES[nis],
        MODULE=module.name,
        FUNCTION=function,
        INPUT=next(iter(spec["inputs"])),
        OUTPUT=outputs[0],
        PARAMETERS=_parameter_block(spec["parameters"], values),
        MAIN=_MAIN[nis],
        **_SIGNATURES[nis],
    )


def _parameter_block(declared: params.Declarations, values: Mapping[str, Any]) -> str:
    """Return one line for each parameter, with what it means and takes as comments."""
    lines = []
    for name, value in params.complete(declared, values).items():
        spec = declared[name]
        text = f"{spec['label']}: {params.describe(spec)}. {spec['help']}"
        lines += textwrap.wrap(text, 96, initial_indent="    # ", subsequent_indent="    # ")
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
        lines.append(f'    "{name}": {shown},')
    return "\n".join(lines)
