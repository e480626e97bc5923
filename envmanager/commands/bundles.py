"""Offline bundles: made where there is a network, installed where there is none."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envmanager import console
from envmanager.commands.outcome import Add, Outcome, environments, progress
from envmanager.data import access, settings
from envmanager.data.paths import data_folder
from envmanager.environments import everywhere
from envmanager.environments.lifecycle import Installed
from envmanager.errors import BadInput
from envmanager.modules import catalog

if TYPE_CHECKING:
    from envmanager.bundles.making import Planned
    from envmanager.bundles.target import Target

# What only these actions need is imported where it is used: every command reads this file.

_ALL_HELP = "for all accounts of this computer (for administrators)"
_TARGETS = ("windows", "linux")


def add_to(add: Add) -> None:
    """Add this command to the parser."""
    bundle = add("bundle", bundle_command, "modules as one file for a computer without a network")
    actions = bundle.add_subparsers(metavar="ACTION", required=True, dest="action")
    create = actions.add_parser("create", help="make a bundle, here where there is a network")
    create.add_argument("modules", nargs="+", metavar="MODULE")
    create.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    create.add_argument("--platform", choices=_TARGETS, help="else as this computer")
    create.add_argument("--python", default="", help="version there, such as 3.12")
    create.add_argument("--backend", default="", help="build of torch: cpu, or such as cu130")
    create.add_argument("--weights", default="none", metavar="NAME,...", help="also all or none")
    create.add_argument("--with-python", action="store_true", help="a Python too, fetched by uv")
    create.add_argument("--python-archive", type=Path, metavar="FILE", help="or that in an archive")
    create.add_argument("--python-sha256", default="", metavar="HEX", help="of that archive")
    create.add_argument("--dry-run", action="store_true", help="show what would be in it")
    info = actions.add_parser("info", help="what a bundle holds")
    info.add_argument("file", type=Path)
    info.add_argument("--verify", action="store_true", help="compare every byte too")
    install = actions.add_parser("install", help="install a bundle, without any network")
    install.add_argument("file", type=Path)
    install.add_argument("--all-accounts", action="store_true", help=_ALL_HELP)
    install.add_argument(
        "--replace-modules", action="store_true", help="where a module here is another one"
    )


def bundle_command(options: argparse.Namespace) -> Outcome:
    """Run one of the actions."""
    actions = {"create": _create, "info": _info, "install": _install}
    return actions[options.action](options)


# ---- create -------------------------------------------------------------------------------------


def _create(options: argparse.Namespace) -> Outcome:
    from envmanager.bundles import making
    from envmanager.bundles.making import Wanted
    from envmanager.bundles.target import Target, here, usual_python

    data = data_folder()
    platform = options.platform or here()
    if not platform:
        raise BadInput(
            "Bundles are for Windows and Linux PCs.", "Say for which: --platform windows"
        )
    modules = (catalog.find(name, data) for name in options.modules)
    wanted = Wanted(
        options.modules,
        Target(platform, options.python or usual_python(modules)),
        options.backend,
        [name.strip() for name in options.weights.split(",") if name.strip() not in ("", "none")],
        options.with_python,
        options.python_archive,
        options.python_sha256,
    )
    chosen = settings.load(data.settings)
    with progress() as report:
        if options.dry_run:
            return _planned(making.plan(data, chosen, wanted, report=report))
        made = making.create(data, chosen, wanted, options.output, report=report)

    def show() -> None:
        console.print_line(
            f"{made.path} ({console.size(made.size)}) is for {_target(wanted.target)}"
        )
        console.print_line(f"Checksum: {made.manifest.checksum}")
        program = "run.cmd" if wanted.target.platform == "windows" else "./run"
        name = console.quoted(made.path.name)
        console.print_line(f"On that computer: {program} bundle install {name}")

    values = {"path": str(made.path.absolute()), "bytes": made.size}
    return Outcome({**values, **made.manifest.as_dict()}, show)


def _planned(planned: Planned) -> Outcome:
    sizes = {wheel.package: wheel.size for wheel in planned.wheels}
    rows = [(w.package, w.version, console.size(w.size)) for w in planned.wheels]

    def show() -> None:
        console.print_table(["package", "version", "size"], rows)
        size, target = console.size(planned.size), _target(planned.wanted.target)
        console.print_line(f"The bundle would have {size}, for {target}")
        if planned.wanted.with_python and planned.python is None:
            console.print_line("The Python, which uv is yet to fetch, comes on top.")

    return Outcome({"bytes": planned.size, "packages": sizes}, show)


def _target(target: Target) -> str:
    return f"{target.platform.capitalize()} (64 bit) with Python {target.python}."


# ---- info and install ---------------------------------------------------------------------------


def _info(options: argparse.Namespace) -> Outcome:
    from envmanager.bundles import reading

    with progress() as report:
        if options.verify:
            with reading.opened(options.file, report) as bundle:
                said = bundle.manifest
        else:
            said = reading.look(options.file)
    size = options.file.stat().st_size

    def show() -> None:
        console.print_line(f"{options.file} ({console.size(size)}) is for {_target(said.target)}")
        if said.interpreter:
            console.print_line(f"It brings that Python along: {Path(said.interpreter).name}")
        for module in said.modules:
            backend = f", torch for {module.backend}" if module.backend else ""
            license_text = f"{module.license or 'no license stated'}{backend}"
            console.print_line(f"{module.name} {module.version}: {module.title} ({license_text})")
            licenses = dict(module.licenses)
            for one in module.weights:
                text = f"  weights {one.name}: {console.size(one.size)}, "
                console.print_line(text + (licenses[one.name] or "no license stated"))
        for name, file in sorted(said.files.items()):
            console.print_line(f"{file.sha256}  {console.size(file.size):>9}  {name}")
        console.print_line(f"Checksum: {said.checksum}")
        console.print_line("Every byte is as stated." if options.verify else _UNVERIFIED)

    values = {"path": str(options.file.absolute()), "bytes": size, "verified": options.verify}
    return Outcome({**values, **said.as_dict()}, show)


_UNVERIFIED = (
    "Compare every byte: --verify. A bundle is a program: install it if you trust its maker."
)


def _install(options: argparse.Namespace) -> Outcome:
    from envmanager.bundles import installing

    engine = everywhere.engine_for_all() if options.all_accounts else environments()
    access.require(engine.data)
    with progress() as report:
        done = installing.install(
            engine, options.file, replace_modules=options.replace_modules, report=report
        )
    return _installed(done)


def _installed(done: Sequence[Installed]) -> Outcome:
    def show() -> None:
        for one in done:
            state = f"{one.seconds:.1f} s" if one.new else "was installed already"
            text = f"{one.name} {one.version} is ready (generation {one.generation}, {state})."
            console.print_line(text)

    modules = [{**vars(one), "folder": str(one.folder)} for one in done]
    return Outcome({"modules": modules}, show)
