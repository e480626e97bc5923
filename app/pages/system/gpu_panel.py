"""The GPUs: name, memory, compute capability and driver, or why there is none to use."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout

from app.context import Context
from app.pages.system import work
from app.pages.system.bars import Bar
from app.pages.system.panel import Panel, clear
from app.widgets import build
from envmanager.machine.hardware import Gpu, Hardware

_GIB = 2**30
_PROCESSOR = "Modules compute on the processor."


class GpuPanel(Panel):
    """What `envmanager.machine.hardware` found."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "GPU")
        self.content.addWidget(build.label("Asking the driver ...", "muted"))

    def refresh(self) -> None:
        """Ask anew."""
        self.context.background.ask(
            work.gpus, self.show_hardware, self.context.shell.tell_error, owner=self,
            only_latest="gpus",
        )  # fmt: skip

    def show_hardware(self, found: Hardware) -> None:
        """Show an answer."""
        clear(self.content)
        for gpu in found.gpus:
            self._add(gpu)
        driver = driver_text(found)
        if driver:
            self.content.addWidget(build.label(driver, "muted", wrap=True, selectable=True))
        if reason := reason_text(found):
            told = build.label(reason, "" if found.broken else "muted", wrap=True, selectable=True)
            build.set_tone(told, "warning" if found.broken else "")
            self.content.addWidget(told)

    def _add(self, gpu: Gpu) -> None:
        line = QHBoxLayout()
        line.addWidget(build.label(gpu.name, selectable=True), 1)
        line.addWidget(build.label(f"Compute capability {gpu.capability_text}", "muted"))
        self.content.addLayout(line)
        if not gpu.memory_total:
            return
        used = gpu.memory_total - gpu.memory_free
        bar = Bar(self.context, {"own": used}, gpu.memory_total)
        bar.setAccessibleName(f"Memory of {gpu.name}: {memory_text(gpu)}")
        self.content.addWidget(bar)
        self.content.addWidget(build.label(memory_text(gpu), "muted", selectable=True))


def memory_text(gpu: Gpu) -> str:
    """Say how much of a GPU's memory is free, in the units in which it is sold."""
    free, total = (number / _GIB for number in (gpu.memory_free, gpu.memory_total))
    return f"{free:.1f} GB of {total:.0f} GB memory free"


def driver_text(found: Hardware) -> str:
    """Return the driver's version and the highest CUDA version that it supports."""
    parts = [f"Driver {found.driver}"] if found.driver else []
    if found.cuda:
        parts.append(f"CUDA up to {found.cuda[0]}.{found.cuda[1]}")
    return "   ·   ".join(parts)


def reason_text(found: Hardware) -> str:
    """Say what is missing; empty where all is well."""
    if found.gpus:
        return found.reason
    return f"{found.reason} {_PROCESSOR}".strip()
