"""Runs the benchmark: ``python -m benchmarks.round_trip FOLDER``; prints one JSON object.

FOLDER holds ``plan.json`` and takes all that the run writes; see `envmanager.commands.bench`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.round_trip import goals, measure, module_process, own_module, start_up

STAGE = "stage: "  # begins a line that is for the user


def main(folder: Path) -> None:
    """Measure what the plan names, and print it."""
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    os.environ["GA3ENV_HOME"] = str(own_module.publish(folder / "data"))
    figures = start_up.figures(folder, plan["node_script"], plan["starts"])
    rows: list[measure.Row] = []
    for shape in map(tuple, plan["shapes"]):
        title = " x ".join(map(str, shape))
        _tell(f"Round trips of {title} pixels")
        rows += measure.round_trips(folder, shape, plan["seconds"])
        for module in plan["modules"]:
            _tell(f"Processes with the packages of {module['name']}, {title} pixels")
            floor_ms = next(row["median_ms"] for row in rows if row["shape"] == list(shape))
            rows += module_process.rows(folder, module, shape, floor_ms)
    figures["ping_ms"] = measure.ping(plan["pings"])
    json.dump({"rows": rows, **figures, "goals": goals.reached(rows, figures)}, sys.stdout)


def _tell(text: str) -> None:
    print(STAGE + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
