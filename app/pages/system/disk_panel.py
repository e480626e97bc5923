"""What takes the disk space: a bar for each module and each other part, and the clean-up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QHBoxLayout

from app import words
from app.background import Task, Work
from app.context import Context
from app.pages.system import work
from app.pages.system.bars import Bar, key
from app.pages.system.panel import Panel, clear
from app.pages.system.work import DiskFigures
from app.theme import SPACE
from app.widgets import build
from envmanager.disk import OfAll, Overview, Usage, Volume
from envmanager.errors import GA3EnvError

LANE = "disk"
_NAME_PX = 132
_KINDS = {"own": "Of its own", "shared": "Shared", "weights": "Weights"}
_OTHERS = {
    "Downloaded Pythons": ("python",),
    "Unfinished downloads": ("downloads",),
    "Trash": ("trash",),
    "Everything else": ("logs", "standin", "client", "rest"),
}


@dataclass(frozen=True)
class Row:
    """A line of the panel: a name and its bytes by kind (own, shared, weights)."""

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All bytes of the row."""
        return sum(self.parts.values())

    @property
    def told(self) -> str:
        """The bytes of each kind, for a tooltip."""
        return "\n".join(
            f"{_KINDS[kind]}: {words.size(part)}" for kind, part in self.parts.items() if part
        )


class DiskPanel(Panel):
    """The figures of the last count, and the free space of now."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Disk space")
        self.again = build.button("Count again", self.count, tip="Count every file anew")
        self.head.addWidget(self.again)
        self.date = build.label("Not counted yet.", "muted", wrap=True)
        self._rows = QGridLayout()
        self._rows.setHorizontalSpacing(SPACE + 4)
        self._rows.setVerticalSpacing(SPACE)
        self._rows.setColumnStretch(1, 1)
        self.content.addWidget(self.date)
        self.content.addLayout(self._rows)
        self.content.addSpacing(SPACE // 2)
        self.content.addLayout(self._buttons())
        self.rows: list[Row] = []
        self._found = DiskFigures()
        self._task: Task[int] | Task[Overview] | None = None
        context.store.changed.connect(self._show)  # titles and weights come from there

    def _buttons(self) -> QHBoxLayout:
        self.clean = build.button(
            "Clean the cache",
            partial(self.clean_cache, everything=False),
            tip="Remove downloads that no environment uses",
        )
        self.empty = build.button(
            "Empty the cache",
            self._ask_to_empty,
            role="quiet",
            tip="Remove all downloads: environments stay, the next install downloads anew",
        )
        line = QHBoxLayout()
        line.addWidget(self.clean)
        line.addWidget(self.empty)
        line.addStretch(1)
        return line

    # ---- reading and changing -------------------------------------------------------------------

    def refresh(self) -> None:
        """Read the figures that are there; count where there are none."""
        self.context.background.ask(
            work.disk_figures,
            self._take,
            self.context.shell.tell_error,
            owner=self,
            only_latest="disk",
        )

    def count(self) -> None:
        """Count everything anew."""
        if self._task is None:
            task = self.context.background.start("Count the disk space", work.count, lane=LANE)
            task.failed.connect(self.context.shell.tell_error)
            self._follow(task)

    def _ask_to_empty(self) -> None:
        """Say what it costs: without a network, a repair has the cache only."""
        found = self._found.own
        size = f" ({words.size(found.cache.total)})" if found else ""
        self.context.shell.tell(
            f"All downloads will be removed{size}. Environments stay, but the next install or "
            "repair downloads anew, for which it needs the network.",
            tone="warning",
            action="Empty the cache",
            run=partial(self.clean_cache, everything=True),
        )

    def clean_cache(self, *, everything: bool) -> None:
        """Remove downloads that nothing uses, or all of them."""
        if self._task is None:
            title = "Empty the cache" if everything else "Clean the cache"
            job: Work[int] = work.clean_cache(everything=everything)
            task = self.context.background.start(title, job)
            task.succeeded.connect(self._cleaned)
            task.failed.connect(self._not_cleaned)
            self._follow(task)

    def _follow(self, task: Task[int] | Task[Overview]) -> None:
        self._task = task
        task.ended.connect(self._ended)
        self._show_busy()

    def _ended(self) -> None:
        self._task = None
        self._show_busy()
        self.refresh()
        self.context.store.refresh()

    def _cleaned(self, freed: int) -> None:
        text = f"{words.size(freed)} of the cache are free again."
        self.context.shell.tell(text if freed else "There was nothing to clean.", tone="success")

    def _not_cleaned(self, error: GA3EnvError) -> None:
        self.context.shell.tell_error(error)

    # ---- what it shows --------------------------------------------------------------------------

    def _take(self, found: DiskFigures) -> None:
        first, self._found = self._found == DiskFigures(), found
        self._show()
        if first and not found.complete and self._task is None:
            self.count()

    def _show_busy(self) -> None:
        for button in (self.again, self.clean, self.empty):
            button.setEnabled(self._task is None)
        if self._task:
            self.date.setText("Counting ..." if self._found.own is None else "Working ...")
        else:
            self._show()

    def _show(self) -> None:
        overview, of_all = self._found.own, self._found.of_all
        clear(self._rows)
        self.rows = rows(overview, *self._of_modules(shared=False)) if overview else []
        if of_all and of_all.figures:
            titles, weights = self._of_modules(shared=True)
            self.rows += rows_of_all(of_all.figures, titles, weights)
        most = max((row.total for row in self.rows), default=0)
        for row in self.rows:
            self._add(row.name, row.parts, most, words.size(row.total), row.told)
        if overview:
            kinds = {kind for row in self.rows for kind, part in row.parts.items() if part}
            titles = {kind: title for kind, title in _KINDS.items() if kind in kinds}
            if len(titles) > 1:
                self._rows.addLayout(key(self.context, titles), self._rows.rowCount(), 1, 1, 2)
            if self._task is None:
                self.date.setText(date_text(overview, of_all))
        for volume in self._found.volumes:
            self._add_volume(volume)

    def _of_modules(self, *, shared: bool) -> tuple[dict[str, str], dict[str, int]]:
        """Return titles, and bytes of the weights in one of the data folders, by name."""
        snapshot = self.context.store.snapshot
        modules = snapshot.modules if snapshot else ()
        titles = {status.name: status.title for status in modules}
        there = (status for status in modules if status.shared == shared)
        return titles, {status.name: status.disk.get("weights", 0) for status in there}

    def _add(self, name: str, parts: Mapping[str, int], whole: int, size: str, told: str) -> None:
        number = self._rows.rowCount()
        title = build.label(name, wrap=True)
        title.setFixedWidth(_NAME_PX)
        bar = Bar(self.context, parts, whole)
        bar.setAccessibleName(f"{name}: {size}")
        for widget in (title, bar):
            widget.setToolTip(told)
        amount = build.label(size, selectable=True)
        amount.setToolTip(told)
        self._rows.addWidget(title, number, 0)
        self._rows.addWidget(bar, number, 1)
        self._rows.addWidget(amount, number, 2, Qt.AlignmentFlag.AlignRight)

    def _add_volume(self, volume: Volume) -> None:
        used = volume.total - volume.free
        told = f"{words.size(used)} of {words.size(volume.total)} are in use on the volume of"
        told += f" {volume.path}"
        self._add("Disk", {"weights": used}, volume.total, f"{words.size(volume.free)} free", told)


def rows(found: Overview, titles: Mapping[str, str], weights: Mapping[str, int]) -> list[Row]:
    """Return the lines of the panel: modules by size, then the cache and the rest.

    Parameters
    ----------
    titles, weights : mapping
        The title and the bytes of weights of modules, by name.
    """
    names = {*found.modules, *(name for name, size in weights.items() if size)}
    modules = [
        Row(titles.get(name, name), _of_module(found.modules.get(name), weights.get(name, 0)))
        for name in names
    ]
    modules.sort(key=lambda row: (-row.total, row.name))
    cache = Row("Cache of downloads", {"own": found.cache.own, "shared": found.cache.shared})
    others = [Row(name, _sum(found, parts)) for name, parts in _OTHERS.items()]
    return [*modules, cache, *(row for row in others if row.total)]


def rows_of_all(
    found: Overview, titles: Mapping[str, str], weights: Mapping[str, int]
) -> list[Row]:
    """Return the lines of what all accounts share, each marked so."""
    shared = [row for row in rows(found, titles, weights) if row.total]
    return [replace(row, name=f"{row.name} (all accounts)") for row in shared]


def _of_module(usage: Usage | None, weights: int) -> dict[str, int]:
    found = usage or Usage()
    return {"own": found.own, "shared": found.shared, "weights": weights}


def _sum(found: Overview, parts: tuple[str, ...]) -> dict[str, int]:
    used = [found.parts[part] for part in parts if part in found.parts]
    return {"own": sum(each.own for each in used), "shared": sum(each.shared for each in used)}


def date_text(found: Overview, of_all: OfAll | None = None) -> str:
    """Say when the figures were counted, and what they add up to."""
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.date))
    text = f"Counted on {date}: {words.size(found.total)}, what is shared counted once."
    if found.unreadable:
        text += f" {found.unreadable} files could not be read."
    if of_all and of_all.figures:
        text += f" All accounts share {words.size(of_all.figures.total)} in {of_all.root}"
        text += "." if of_all.may_change else "; only an administrator may clean that."
    return text
