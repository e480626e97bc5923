"""What a node script costs before its first call: importing the client, and the script itself."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.round_trip.peer import PROJECT
from ga3_nodes.standin.out_of_process import prepare_site

_CLIENT = """
import sys, time
import numpy
sys.path.append(sys.argv[1])
started = time.perf_counter()
from ga3_nodes import client
print(time.perf_counter() - started)
"""
# As NIS runs it: the text is compiled and executed, then `output` is called.
_SCRIPT = """
import sys, time
import numpy, limnode
from limnode_types import BinaryDefinition, ChannelDefinition
text = open(sys.argv[1], encoding="utf-8").read()
inp, out = [ChannelDefinition()], [BinaryDefinition()]
started = time.perf_counter()
names = {"__name__": "ga3_script"}
exec(compile(text, "<string>", "exec"), names)
names["output"](inp, out)
print(time.perf_counter() - started)
assert out[0].name, "output() has defined nothing"
"""


def figures(folder: Path, node_script: str, starts: int) -> dict[str, float]:
    """Return the medians of so many fresh processes each, in ms."""
    site = prepare_site(folder / "site")
    return {
        "client_import_ms": _median_ms(_CLIENT, str(PROJECT), site, starts),
        "node_script_ms": _median_ms(_SCRIPT, node_script, site, starts),
    }


def _median_ms(code: str, argument: str, site: Path, starts: int) -> float:
    command = [sys.executable, "-c", code, argument]
    times = [
        float(subprocess.run(command, cwd=site, check=True, stdout=subprocess.PIPE).stdout)
        for _ in range(starts + 1)
    ]
    return statistics.median(times[1:]) * 1e3  # the first one fills the caches
