"""Pipelines: the same modules over whole folders of images, from a YAML file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envmanager import applog, console
from envmanager.commands.outcome import EXIT_DONE, EXIT_FAILED, Add, Outcome, progress
from envmanager.data.paths import data_folder
from envmanager.errors import GA3EnvError
from ga3_nodes import home, params

if TYPE_CHECKING:
    from envmanager.pipelines.plan import Plan
    from envmanager.pipelines.records import ImageRecord


def add_to(add: Add) -> None:
    """Add these commands to the parser."""
    run = add("pipeline", pipeline_command, "run a YAML pipeline over folders of images")
    run.add_argument("file", type=Path, help="the pipeline, a .yaml file")
    run.add_argument("--input-dir", type=Path, metavar="DIR", help="%%INPUT_DIR%% of the pipeline")
    run.add_argument("--output-dir", type=Path, metavar="DIR", help="%%OUTPUT_DIR%% of it")
    run.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="%%NAME%% of it"
    )
    run.add_argument("--dry-run", action="store_true", help="show what would run on what")
    run.add_argument("--force", action="store_true", help="do images again that are done")
    run.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster, as tcp://host:8786")
    new = add("new-pipeline", new_command, "make a pipeline file of a module", module=True)
    new.add_argument("-o", "--output", type=Path, required=True, help="the .yaml file")
    new.add_argument("--pattern", default="*.tif", help="of the images (*.tif)")
    new.add_argument("--channels", metavar="N", help="only these: 1, 1-3 or a name")
    new.add_argument("--function", default="", help="by default the module's first")
    new.add_argument("-p", "--parameter", action="append", default=[], metavar="KEY=VALUE")
    new.add_argument("--preset", metavar="NAME", help="parameters that were kept by name")
    new.add_argument("--csv", action="store_true", help="also a table of the objects")
    new.add_argument("--rois", action="store_true", help="also the objects as ImageJ ROIs")
    new.add_argument("--overlay", action="store_true", help="also a PNG with the outlines")


def pipeline_command(options: argparse.Namespace) -> Outcome:
    """Run a pipeline, or show what it would do."""
    from envmanager.pipelines import running

    plan, root = _planned(options)
    if options.dry_run:
        return _dry_run(plan, root, force=options.force)
    reasons: dict[str, list[str]] = {}  # what is wrong with many images is said once

    def told(record: ImageRecord) -> None:
        if record.error:
            reasons.setdefault(_reason(record), []).append(Path(record.input).name)

    with progress() as report:
        done = running.run(
            plan,
            root,
            force=options.force,
            report=report,
            told=told,
            work=_cluster(options.scheduler),
        )

    counts = f"{done.done} done", f"{done.skipped} done before", f"{len(done.failed)} failed"

    def show() -> None:
        for reason, names in reasons.items():
            console.print_line(f"{', '.join(names)}: failed: {reason}")
        console.print_pairs(
            {
                "images": ", ".join(counts),
                "objects": done.objects,
                "time": f"{done.seconds:.1f} s, {done.inside_s:.1f} s of it in the modules",
                "run folder": done.run_dir,
            }
        )

    for reason in reasons:
        applog.write_error(data_folder(), "pipeline", GA3EnvError(reason))
    return Outcome(done.as_dict(), show, EXIT_FAILED if done.failed else EXIT_DONE)


def _cluster(scheduler: str | None) -> Any:
    if not scheduler:
        return None
    from envmanager.pipelines import cluster

    return cluster.work_on(scheduler)


def _reason(record: ImageRecord) -> str:
    error = record.error or {}
    return " ".join(filter(None, (error.get("message"), error.get("hint"))))


def _planned(options: argparse.Namespace) -> tuple[Plan, Path]:
    from envmanager.pipelines import document, plan, variables

    given = variables.given(options.input_dir, options.output_dir, options.set)
    checked = plan.check(document.load(options.file), given, data_folder())
    root = options.output_dir or plan.output_folder(checked)
    return checked, root.absolute()


def _dry_run(plan: Plan, root: Path, *, force: bool) -> Outcome:
    from envmanager.pipelines import previewing

    images = previewing.preview(plan, root, force=force)

    def show() -> None:
        for warning in plan.warnings:
            console.print_line(f"notice: {warning}")
        for call in plan.calls:
            values = ", ".join(f"{name}={value}" for name, value in call.parameters.items())
            console.print_line(f"{call.name}: {call.module} {call.function} ({values})")
        for image in images:
            to = ", ".join(image.outputs)
            what = image.problem or f"{image.shape}, {image.state} -> {to}"
            console.print_line(f"{image.input}: {what}")

    counts = {state: sum(one.state == state for one in images) for state in previewing.STATES}
    failed = [{"input": i.input, "message": i.problem} for i in images if i.problem]
    data = {
        "images": len(images),
        "done": 0,
        "skipped": counts[previewing.DONE],
        "failed": failed,
        "run_dir": None,
        "would_run": [vars(one) for one in images],
        "warnings": list(plan.warnings),
    }
    return Outcome(data, show, EXIT_FAILED if failed else EXIT_DONE)


def new_command(options: argparse.Namespace) -> Outcome:
    """Make a pipeline file."""
    from envmanager import exporting, presets, segmentation, trials
    from envmanager.data import files
    from envmanager.pipelines import composing

    functions = trials.functions(data_folder(), options.module)
    name = options.function or next(iter(functions))
    if name not in functions:  # raises, and names those that exist
        segmentation.function_of(home.published(options.module), name)
    spec = functions[name]
    values: dict[str, Any] = {}
    if options.preset:
        values = dict(presets.load(data_folder(), options.module, options.preset, name).parameters)
    values |= segmentation.parse_parameters(options.parameter, spec["parameters"])
    params.complete(spec["parameters"], values)
    selection = {"channels": options.channels} if options.channels else {}
    batch = composing.Batch(
        module=options.module,
        function=name,
        outputs={key: output["kind"] for key, output in spec["outputs"].items()},
        parameters=values,
        pattern=options.pattern,
        input_name=next(iter(spec["inputs"])),
        selection=selection,
        beside=exporting.Wanted(options.csv, options.rois, options.overlay),
    )
    files.write_text(options.output, composing.text_of(batch))
    line = f"Run it with: ./run pipeline {options.output} --input-dir FOLDER --output-dir FOLDER"
    return Outcome({"path": str(options.output)}, lambda: console.print_line(line))
