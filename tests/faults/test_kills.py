"""SIGKILL at many moments: what was published still works, and the next command cleans up.

Half of the kills hit the command alone, so that uv or a self-test goes on without it; the others
hit all that it started too, as when the computer loses its power.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.faults import bench as benches
from tests.faults import mini
from tests.faults.bench import Bench, Command
from tests.faults.conftest import World

pytestmark = pytest.mark.slow
MODULE = mini.NAME
# How often each command is killed.
KILLS = {"install": 10, "update": 10, "repair": 8, "rollback": 5, "remove": 5}


def _no_change(bench: Bench) -> None:
    pass


def _new_version(bench: Bench) -> None:
    bench.change_module(3)


def _damage(bench: Bench) -> None:
    folder = bench.root / "envs" / MODULE / "1" / ".venv"
    benches.replace_file(next(folder.glob("**/mini_label.py")), b"broken\n")


@dataclass(frozen=True)
class Case:
    """A command, on which template it runs, and what makes it do something there."""

    name: str
    template: str
    prepare: Callable[[Bench], None] = _no_change


CASES = {
    "install": Case("install", "empty"),
    "update": Case("update", "updated", _new_version),
    "repair": Case("repair", "installed", _damage),
    "rollback": Case("rollback", "updated"),
    "remove": Case("remove", "updated"),
}


@dataclass
class Undisturbed:
    """What a command does when nobody kills it."""

    seconds: float
    stages: list[float]
    before: tuple[int, int] | None
    after: tuple[int, int] | None
    shape: set[str] = field(repr=False)

    def moments(self, number: int) -> list[tuple[int | None, float]]:
        """Return when to kill: after which stage began (None: the start), how much later.

        First the milliseconds of the publishing and the begin of the stages before it, then two
        or more that are evenly spread.
        """
        last = len(self.stages) - 1
        found: list[tuple[int | None, float]] = []
        if self.stages:
            found += [(last, delay) for delay in (0.0, 0.004, 0.012, 0.03)]
            found += [(stage, 0.0) for stage in reversed(range(last))]
        found = found[: number - 2]
        spread = number - len(found)
        start = self.stages[0] if self.stages else self.seconds / 2
        length = self.seconds - start
        return found + [(None, start + length * (n + 0.25) / spread) for n in range(spread)]


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory) -> Callable[[str], Undisturbed]:
    """Return a function that runs a command once without a fault and remembers what it did."""
    known: dict[str, Undisturbed] = {}

    def measure(name: str) -> Undisturbed:
        if name not in known:
            root = tmp_path_factory.mktemp(f"undisturbed {name}")
            benches.copy(getattr(world, CASES[name].template), root)
            bench = Bench(root, world.wheels)
            CASES[name].prepare(bench)
            before = bench.published()
            command = bench.start(name, MODULE)
            assert command.reply["ok"], command.reply
            known[name] = Undisturbed(
                command.seconds, command.stages, before, bench.published(), bench.shape()
            )
        return known[name]

    return measure


def _kill(command: Command, moment: tuple[int | None, float], *, all_of_it: bool) -> list | None:
    stage, delay = moment
    if stage is None:
        time.sleep(max(0.0, command.started + delay - time.monotonic()))
    elif command.wait_for_stage(stage):
        time.sleep(delay)
    return command.kill(all_of_it=all_of_it)


@pytest.mark.parametrize(
    ("name", "number"), [(n, i) for n, kills in KILLS.items() for i in range(kills)]
)
def test_kill(world: World, bench, undisturbed, tried, name, number):
    usual = undisturbed(name)
    one: Bench = bench(getattr(world, CASES[name].template))
    CASES[name].prepare(one)
    command = one.start(name, MODULE)
    left = _kill(command, usual.moments(KILLS[name])[number], all_of_it=number % 2 == 1)
    if left is not None:
        tried(f"SIGKILL of {name}" + (" and its children" if number % 2 else ""))
    published = one.published()
    assert published in (usual.before, usual.after)
    if published and not (name == "repair" and published == usual.before):
        one.works()
    _again(one, name, usual)
    assert (one.published() or (0, 0))[1] == (usual.after or (0, 0))[1]
    benches.gone(left or [])
    if usual.after:
        one.works()
    one.is_green()
    one.as_clean_as(usual.shape)


def _again(bench: Bench, name: str, usual: Undisturbed) -> None:
    """Run the command again; where it was done already, it says so."""
    command = bench.start(name, MODULE)
    if not command.reply["ok"]:
        assert bench.published() == usual.after, command.reply
        assert command.error["code"] in ("no_generation", "not_installed"), command.reply


@pytest.mark.parametrize("delay", [0.1, 0.4])
def test_a_plan_is_killed(world, bench, tried, delay):
    """`update --dry-run` resolves in a folder of its own, which is none of the data folder's."""
    one: Bench = bench(world.updated)
    one.change_module(3)
    usual = one.shape()
    world.index.fail("/simple/mini-core/", stall_after=0)
    command = one.start("update", MODULE, "--dry-run")
    world.index.wait_for("/simple/mini-core/")
    time.sleep(delay)
    left = command.kill()
    assert left is not None
    tried("SIGKILL of update --dry-run")
    assert one.shape() == usual
    world.index.mend()
    benches.gone(left)
    assert one.run("update", MODULE, "--dry-run")["needed"]
    one.as_clean_as(usual)
