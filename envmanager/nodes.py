"""Generates the GA3 node script of a module's function, for the NIS version that runs it."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from envmanager.data.paths import NODE_PACKAGE
from envmanager.errors import BadInput
from envmanager.modules.catalog import HOST, LABELS, Module
from ga3_nodes import params
from ga3_nodes.weights import WEIGHTS

BINARIES = ("int32", "uint8")
CHANNELS = ("float", "uint16", "uint8")
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
COLORS = ("#FFDC00", "#00C8FF", "#FF5AC8", "#78FF5A", "#FF8C28")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_MAKE_BINARY = {"int32": "makeInt32", "uint8": "makeUInt8"}
_MAKE_CHANNEL = {"float": "makeFloat", "uint16": "makeUInt16", "uint8": "makeUInt8"}
_BINARY_TEXT = {
    "int32": "binary, the value of a pixel is the number of its object",
    "uint8": "binary, with a gap between objects that touch",
}
_WITH = {"int": "withIntCol", "float": "withFloatCol", "string": "withStringCol"}
_WIDTH = 100


def script(
    module: Module,
    values: Mapping[str, Any],
    *,
    nis: int = 6,
    function: str = "segment",
    name: str = "",
    color: str = "",
    binary: str = "int32",
    channel: str = "float",
) -> str:
    """Return the text of a node script.

    Parameters
    ----------
    values : mapping
        Parameters that differ from the module's defaults.
    nis : int
        6 for NIS-Elements 6.10 and 6.20, 7 for 7.x and NIS-Express 2.x: the functions' signatures
        differ.
    name : str
        What NIS shows the outputs as; the module's title by default.
    color : str
        ``#RRGGBB`` of the first output; any others keep colours of their own.
    binary : str
        The type of binaries: ``int32`` holds the objects' numbers, ``uint8`` only where they are.
    channel : str
        The type of channels: ``float``, or ``uint16`` and ``uint8``, rounded and clipped.

    Raises
    ------
    BadInput
        The function is unknown, a table's columns are not declared, the name is not one line, the
        colour is none, or a value does not fit.
    """
    looks = Looks(name.strip() or module.title, color or COLORS[0], binary, channel)
    looks.check()
    spec = module.functions.get(function)
    if spec is None:
        raise BadInput(
            f"{module.name} has no function {function!r}.", f"It has {', '.join(module.functions)}."
        )
    template = (NODE_PACKAGE / "nodes" / "node.py.txt").read_text("utf-8")
    return Template(template).substitute(
        TITLE=module.title,
        QUOTED_TITLE=_quoted(module.title),
        QUOTED_NAME=_quoted(looks.name),
        VERSION=module.version,
        FUNCTION_TITLE=spec["title"],
        NIS=_NAMES[nis],
        MODULE=module.name,
        FUNCTION=function,
        FIRST_RUN="\n".join(_first_run(module)),
        PORTS="\n".join(f"#   {port}" for port in ports(spec, binary)),
        PARAMETERS="".join(f"{line}\n" for line in _parameter_block(spec["parameters"], values)),
        DEFINITIONS="\n".join(_definitions(module, spec, looks)),
        INPUTS=", ".join(f"inp[{index}].data" for index in range(len(spec["inputs"]))),
        OUTPUTS="\n".join(_outputs(spec["outputs"])),
        MAIN=_MAIN[nis],
        **_SIGNATURES[nis],
    )


@dataclass(frozen=True)
class Looks:
    """How the outputs of a node appear in NIS; `script` explains each."""

    name: str
    color: str
    binary: str
    channel: str

    def check(self) -> None:
        """Raise BadInput where NIS could not show it so."""
        if not self.name.isprintable():
            raise BadInput("A node's name is one line of text.", "Leave out tabs and the like.")
        if not _COLOR.fullmatch(self.color):
            raise BadInput(f"{self.color!r} is no colour.", "Write it as #RRGGBB, such as #FFDC00.")


def signature(version: str) -> int:
    """Return for which NIS a script is made, 6 or 7, by the version of an installed one.

    NIS-Express 2 calls scripts as NIS-Elements 7 does; 6 where nothing is known.
    """
    major = version.partition(".")[0]
    return 7 if major.isdecimal() and (int(major) >= 7 or int(major) == 2) else 6


def output_kinds(spec: Mapping[str, Any]) -> list[str]:
    """Return what to set up a function's outputs as in NIS: "binary", "channel" or "table"."""
    kinds = {"labels": "binary", "image": "channel"}
    return [kinds.get(output["kind"], output["kind"]) for output in spec["outputs"].values()]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _first_run(module: Module) -> Iterator[str]:
    if module.runtime == HOST:
        yield "# It computes inside NIS. What goes wrong is in the data folder too:"
    else:
        yield "# The first run waits until the libraries are loaded: seconds, at times a minute."
        yield "# Later runs find them ready. What the module says is in the data folder:"
    yield f"# logs/worker-{module.name}.log"


# ---- inputs and outputs --------------------------------------------------------------------------


def ports(spec: Mapping[str, Any], binary: str = "int32") -> list[str]:
    """Say in words which inputs and outputs a function's node needs, in their order."""
    kinds = {"labels": _BINARY_TEXT[binary], "image": "channel", "table": "table"}
    inputs = [
        f"input {index}: {name} ({_takes(declared, spec)})"
        for index, (name, declared) in enumerate(spec["inputs"].items(), 1)
    ]
    return inputs + [
        f"output {index}: {name} ({kinds[declared['kind']]})"
        for index, (name, declared) in enumerate(spec["outputs"].items(), 1)
    ]


def _takes(declared: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """Say in words which frames an input takes."""
    axes = set(declared["axes"])
    places = ["2-D"] if {"yx", "yxc"} & axes else []
    if {"zyx", "zyxc"} & axes:
        places.append("3-D")
    elif spec.get("slice_by_slice"):
        places.append("3-D slice by slice")
    if declared["kind"] == LABELS:
        return f"binary of type int32, {' or '.join(places)}"
    components = ["mono"] if {"yx", "zyx"} & axes else []
    components += ["RGB"] if {"yxc", "zyxc"} & axes else []
    return f"channel, {' or '.join(places)}, {' or '.join(components)}"


def _definitions(module: Module, spec: Mapping[str, Any], looks: Looks) -> Iterator[str]:
    """Return the lines of `output()`, which defines everything that the function gives."""
    several = len(spec["outputs"]) > 1
    colors = [looks.color, *(color for color in COLORS if color != looks.color)]
    for index, (name, declared) in enumerate(spec["outputs"].items()):
        color = colors[index % len(colors)]
        title = f'NAME + " {name}"' if several else "NAME"
        if declared["kind"] == "labels":
            yield f'    out[{index}].makeNew({title}, "{color}").{_MAKE_BINARY[looks.binary]}()'
        elif declared["kind"] == "image":
            if looks.channel == "float":
                yield "    # or .makeUInt16(), .makeUInt8(): values are rounded and clipped"
            make = _MAKE_CHANNEL[looks.channel]
            yield f'    out[{index}].makeNewMono({title}, "{color}").{make}()'
        else:
            yield f"    out[{index}].makeNew({title})"
            for column in _columns(module, name, declared):
                unit = f", {_quoted(column['unit'])}" if column["unit"] else ""
                yield f"    out[{index}].{_WITH[column['type']]}({_quoted(column['name'])}{unit})"


def _outputs(names: Iterable[str]) -> list[str]:
    """Return the lines that say which result goes into which output of the node."""
    pairs = [f'"{name}": out[{index}]' for index, name in enumerate(names)]
    line = f"    outputs = {{{', '.join(pairs)}}}"
    if len(line) <= _WIDTH:
        return [line]
    return ["    outputs = {", *(f"        {pair}," for pair in pairs), "    }"]


def _columns(module: Module, name: str, declared: Mapping[str, Any]) -> list[dict[str, str]]:
    if "columns" not in declared:
        raise BadInput(
            f"{module.name} does not say which columns its table {name!r} has.",
            f'Declare them in module.toml: outputs.{name} = {{ kind = "table", columns = [...] }}.',
            code="columns_undeclared",
        )
    return list(declared["columns"])


# ---- the parameters ------------------------------------------------------------------------------


def _parameter_block(declared: params.Declarations, values: Mapping[str, Any]) -> Iterator[str]:
    """Return the lines of each parameter: what it means and takes as comments, and its value."""
    for name, value in params.complete(declared, values).items():
        spec = declared[name]
        yield from _comment(_meaning(spec))
        for choice in spec.get("choices", []):
            label = "" if choice["label"] == choice["value"] else f"  {choice['label']}"
            yield from _comment(f"{_quoted(choice['value'])}{label}", "  - ")
        shown = _quoted(value) if isinstance(value, str) else repr(value)
        yield f'    "{name}": {shown},'


def _meaning(spec: Mapping[str, Any]) -> str:
    takes = "one of the following" if spec["type"] == "choice" else params.describe(spec)
    if spec["type"] == WEIGHTS and spec.get("choices"):
        takes = "one of the following, of your own, or the full path of a file or folder"
    only = "Matters only for 3-D volumes. " if spec.get("only_3d") else ""
    return f"{spec['label']}: {takes}. {only}{spec['help']}".rstrip()


def _comment(text: str, mark: str = "") -> list[str]:
    first, later = f"    # {mark}", "    # " + " " * len(mark)
    return textwrap.wrap(text, _WIDTH - 4, initial_indent=first, subsequent_indent=later)
