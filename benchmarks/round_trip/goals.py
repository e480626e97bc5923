"""What the figures shall be, and whether they are."""

from __future__ import annotations

from typing import Any

SHAPE = [2048, 2048]


def reached(rows: list[dict[str, Any]], figures: dict[str, float]) -> list[dict[str, Any]]:
    """Return the goals that this run can judge: `name`, `value`, `limit`, `at_least`, `met`."""
    at = {_name(row): row for row in rows if row["shape"] == SHAPE}
    found = []
    if at:
        copy_ms = at["ours_copy"]["median_ms"]
        found += [
            _goal("2048 x 2048, ours_copy, x floor", at["ours_copy"]["x_floor"], 3.2),
            _goal("2048 x 2048, ours_view, x floor", at["ours_view"]["x_floor"], 1.8),
        ]
        factors = {"appose": 2.5, "process_numpy": 20.0}
        factors |= {name: 1000.0 for name in at if name.startswith("process_library cellpose")}
        for other, factor in factors.items():
            times = at[other]["median_ms"] / copy_ms
            found.append(
                _goal(f"2048 x 2048, times faster than {other}", times, factor, at_least=True)
            )
    limits = {"ping_ms": 0.4, "client_import_ms": 15.0, "node_script_ms": 20.0}
    return found + [_goal(name, figures[name], limit) for name, limit in limits.items()]


def _name(row: dict[str, Any]) -> str:
    return f"{row['transport']} {row['module']}" if "module" in row else str(row["transport"])


def _goal(name: str, value: float, limit: float, *, at_least: bool = False) -> dict[str, Any]:
    met = value >= limit if at_least else value <= limit
    return {"name": name, "value": value, "limit": limit, "at_least": at_least, "met": met}
