"""The record of what computed as a methods section: text, Markdown, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from envmanager.data import files
from envmanager.errors import UsageError
from envmanager.sharing.freezing import Record

SUFFIXES = (".md", ".txt", ".json")
_SHORT = 12  # digits of a sha256 in a sentence; the record has all of them


def save(record: Record, path: Path) -> None:
    """Write a record in the form that the file's suffix names.

    Raises
    ------
    UsageError
        The suffix is none of `SUFFIXES`.
    BadInput
        The file cannot be written.
    """
    check_place(path)
    forms = {".md": as_markdown, ".txt": as_text, ".json": as_json}
    files.write_text(path, forms[path.suffix.lower()](record))


def check_place(path: Path) -> None:
    """Refuse a file that `save` could not write; raises as it does."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"The suffix of {path.name!r} names no form of a methods text.",
            f"Take one of {', '.join(SUFFIXES)}.",
        )
    files.refuse_place(path, "methods.md")


def as_json(record: Record) -> str:
    """Return the record with its text as one JSON object."""
    values = {**record.values, "notes": list(record.notes), "text": section(record)}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def as_text(record: Record) -> str:
    """Return the section, the packages and the record as plain text."""
    lines = [f"{p['name']}=={p['version']}" for p in record.values["packages"]]
    parts = [section(record), "Packages:\n" + "\n".join(lines), f"Record:\n{_json(record)}"]
    return "\n\n".join(parts) + "\n"


def as_markdown(record: Record) -> str:
    """Return the section with tables of parameters, weights and packages, and the record."""
    values = record.values
    parts = [f"# Methods: {_escaped(values['module']['title'])}", _escaped(section(record))]
    rows = [(p["label"], f"`{p['name']}`", _value(p)) for p in values["parameters"]]
    if rows:
        parts += ["## Parameters", _table(("Parameter", "Name", "Value"), rows)]
    found = [(w["name"], n, f["sha256"]) for w in values["weights"] for n, f in w["files"].items()]
    if found:
        parts += ["## Weights", _table(("Weights", "File", "sha256"), found)]
    packages = [
        (p["name"], p["version"], " ".join(f["sha256"] for f in p["files"]))
        for p in values["packages"]
    ]
    parts += ["## Packages", _table(("Package", "Version", "sha256"), packages)]
    parts += ["## Record", f"```json\n{_json(record)}\n```"]
    return "\n\n".join(parts) + "\n"


def section(record: Record) -> str:
    """Return the sentences for a methods section."""
    values = record.values
    sentences = [
        [_tool(values), _place(values)],
        [_chosen(values["parameters"]), *map(_weights, values["weights"])],
        [_environment(values), *record.notes],
        [f"Please cite: {values['module']['citation']}" if values["module"]["citation"] else ""],
    ]
    paragraphs = [" ".join(filter(None, found)) for found in sentences]
    return "\n\n".join(filter(None, paragraphs))


def _tool(values: dict[str, Any]) -> str:
    module = values["module"]
    licence = f", licence {module['license']}" if module["license"] else ""
    page = f", {module['homepage']}" if module["homepage"] else ""
    return (
        f"Images were processed with {module['title']} (module {module['name']} "
        f'{module["version"]}{licence}{page}), function "{values["function"]["title"]}".'
    )


def _place(values: dict[str, Any]) -> str:
    found = values["environment"]
    direct = [f"{p['name']} {p['version']}" for p in values["packages"] if p["direct"]]
    used = _listed([f"Python {found['python']}", *direct])
    device = "the CPU" if found["device"] == "cpu" else f"the GPU {found['device_name']}".strip()
    backend = f" ({found['backend']})" if found["backend"] not in ("", "cpu") else ""
    return (
        f"It ran in GA3 Environment Manager {values['app']['version']} with "
        f"{used}, on {device}{backend} under {values['system']}."
    )


def _chosen(parameters: Sequence[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    told = ", ".join(f"{p['label']} = {_value(p)}" for p in parameters)
    defaults = ", all of them the defaults" if all(p["default"] for p in parameters) else ""
    return f"Parameters: {told}{defaults}."


def _value(parameter: dict[str, Any]) -> str:
    value, unit = parameter["value"], parameter["unit"]
    if isinstance(value, bool):
        value = "yes" if value else "no"
    text = f"{value:.10g}" if isinstance(value, float) else str(value) or "none"
    return f"{text} {unit}".strip()


def _weights(found: dict[str, Any]) -> str:
    files = found["files"].values()
    facts = [found["title"] if found["title"] != found["name"] else ""]
    facts += [f"licence {found['license']}" if found["license"] else ""]
    facts += [f"sha256 {file['sha256'][:_SHORT]}..." for file in files]
    told = "; ".join(filter(None, facts))
    return f"Weights: {found['name']} ({told})." if told else f"Weights: {found['name']}."


def _environment(values: dict[str, Any]) -> str:
    found, count = values["environment"], len(values["packages"])
    note = f', "{found["note"]}"' if found["note"] else ""
    built = f", built {found['built'][:10]}" if found["built"] else ""
    return (
        f"The environment (generation {found['generation']}{note}{built}) holds {count} "
        f"package{'s' * (count != 1)}, pinned by a lock with the sha256 "
        f"{found['lock_sha256'][:_SHORT]}...; the record lists all versions and hashes."
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _json(record: Record) -> str:
    return json.dumps(record.values, indent=1, ensure_ascii=False)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _escaped(text: str) -> str:
    """Keep what Markdown would take for its own marks."""
    for mark in ("\\", "`", "*", "_", "<", "#", "["):
        text = text.replace(mark, f"\\{mark}")
    return text
