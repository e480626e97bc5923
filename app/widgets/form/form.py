"""The form: a line for each parameter, with its name, its control, its help, and a way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from app.context import Context
from app.theme import SPACE
from app.widgets import build
from app.widgets.form import editors
from app.widgets.form.editors import Editor, Spec
from app.widgets.form.weights import WeightsEditor
from envmanager.weights.store import SetState
from ga3_nodes import params

_RESET_PX = 24


class Row(QWidget):
    """One parameter."""

    edited = Signal()

    def __init__(self, name: str, spec: Spec, context: Context) -> None:
        super().__init__()
        self.name, self.spec = name, spec
        self.title = str(spec.get("label") or name)
        self.editor = _editor(spec, self.title, context)
        self._reset = build.tool(f"{self.title}: back to the default", self.reset)
        self._reset.setToolTip(f"Back to the default: {_value_text(spec, spec['default'])}")
        context.set_icon(self._reset, "rollback", "muted")
        self._reset.setIconSize(QSize(_RESET_PX - 6, _RESET_PX - 6))
        self._reset.setFixedSize(_RESET_PX, _RESET_PX)
        self._reset.setStyleSheet("padding: 2px;")
        self._lay_out()
        self.reset()
        self.editor.edited.connect(self._tell)
        self._tell()

    def _lay_out(self) -> None:
        control = editors.owner(self.editor)
        control.setToolTip(_tip(self.spec))
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(SPACE)
        layout.setVerticalSpacing(SPACE // 2)
        layout.setColumnStretch(0, 1)
        layout.setRowMinimumHeight(0, _RESET_PX)  # the same with and without the way back
        if self.spec["type"] == "bool":
            layout.addWidget(control, 0, 0)
        else:
            label = build.label(self.title, wrap=True)
            label.setToolTip(_tip(self.spec))
            label.setBuddy(control)
            layout.addWidget(label, 0, 0)
            place = (1, 0, 1, 3) if editors.is_wide(self.spec["type"]) else (0, 2, 1, 1)
            layout.addWidget(control, *place)
        layout.addWidget(self._reset, 0, 1)
        if text := _help(self.spec):
            layout.addWidget(build.label(text, "muted", wrap=True), 2, 0, 1, 3)

    def reset(self) -> None:
        """Go back to the default."""
        self.editor.put(self.spec["default"])

    @property
    def is_default(self) -> bool:
        """Whether the value is the default."""
        return bool(self.editor.get() == self.spec["default"])

    def _tell(self) -> None:
        self._reset.setVisible(not self.is_default)
        self.edited.emit()


class Form(QWidget):
    """The parameters of one function; made anew by `set_function`.

    Values that come from elsewhere (`set_values`) must fit their declaration: `params.check`.
    """

    changed = Signal()
    wants_weights = Signal(str)  # the name of a set that shall be downloaded

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._quiet = False
        self._volume = False
        self.rows: dict[str, Row] = {}
        self._none = build.label("This function has no parameters.", "muted")
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2 * SPACE)
        self._layout.addWidget(self._none)
        self._none.hide()

    def set_function(self, declared: params.Declarations, sets: Sequence[SetState] = ()) -> None:
        """Show the parameters of a function, at their defaults."""
        for row in self.rows.values():
            self._layout.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.rows = {name: Row(name, spec, self._context) for name, spec in declared.items()}
        for row in self.rows.values():
            self._layout.addWidget(row)
            row.edited.connect(self._tell)
            if isinstance(row.editor, WeightsEditor):
                row.editor.wanted.connect(self.wants_weights)
        self._none.setVisible(not self.rows)
        self.set_sets(sets)
        self.set_volume(self._volume)
        self.changed.emit()

    def set_sets(self, sets: Sequence[SetState]) -> None:
        """Tell which weights the module has."""
        for row in self.rows.values():
            if isinstance(row.editor, WeightsEditor):
                row.editor.set_sets(sets)

    def set_volume(self, on: bool) -> None:
        """Show what matters for z-stacks only, or hide it."""
        self._volume = on
        for row in self.rows.values():
            row.setVisible(on or not row.spec.get("only_3d"))

    def values(self) -> dict[str, Any]:
        """Return all values."""
        return {name: row.editor.get() for name, row in self.rows.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show these values, and the defaults of the others."""
        self._quiet = True
        for name, row in self.rows.items():
            row.editor.put(values.get(name, row.spec["default"]))
        self._quiet = False
        self.changed.emit()

    def reset(self) -> None:
        """Go back to all defaults."""
        self.set_values({})

    @property
    def is_default(self) -> bool:
        """Whether nothing was changed."""
        return all(row.is_default for row in self.rows.values())

    def weights_problem(self) -> tuple[str, bool]:
        """Say what hinders a call with the weights chosen, and whether a download mends it."""
        for row in self.rows.values():
            if isinstance(row.editor, WeightsEditor) and row.editor.problem:
                return row.editor.problem, row.editor.is_missing
        return "", False

    def _tell(self) -> None:
        if not self._quiet:
            self.changed.emit()


def value_text(spec: Spec, value: Any) -> str:
    """Return a value as the form shows it."""
    return _value_text(spec, value)


def _value_text(spec: Spec, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if spec["type"] in ("choice", "weights"):
        labels = {one["value"]: one.get("label", one["value"]) for one in spec.get("choices", [])}
        return str(labels.get(value, value))
    if isinstance(value, (int, float)):
        return f"{value:g} {spec.get('unit', '')}".strip()
    return str(value) or "empty"


def _editor(spec: Spec, title: str, context: Context) -> Editor:
    made: Editor
    match spec["type"]:
        case "float" | "int":
            made = editors.NumberEditor(spec)
        case "bool":
            return editors.FlagEditor(title)
        case "choice":
            made = editors.ChoiceEditor(spec)
        case "weights":
            made = WeightsEditor(spec, context)
            made.set_name(title)
        case _:
            made = editors.TextEditor()
    editors.owner(made).setAccessibleName(title)
    return made


def _tip(spec: Spec) -> str:
    default = _value_text(spec, spec["default"])
    takes = params.describe(spec) if spec["type"] in ("int", "float") else ""
    known = f"Takes {takes}; the default is {default}." if takes else f"The default is {default}."
    return "\n".join(filter(None, (str(spec.get("help", "")), known)))


def _help(spec: Spec) -> str:
    """Return the help, and the range of a number."""
    low, high, unit = spec.get("min"), spec.get("max"), spec.get("unit", "")
    limits = ""
    if low is not None and high is not None:
        limits = f"{low:g} to {high:,.10g} {unit}".strip() + "."
    return " ".join(filter(None, (str(spec.get("help", "")), limits)))
