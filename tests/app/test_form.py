"""The form that is made from a function's declaration."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication

from app.widgets.form import Form
from app.widgets.form.editors import ChoiceEditor, NumberEditor, step
from app.widgets.form.form import Row, value_text
from envmanager.data.paths import SHIPPED_MODULES
from envmanager.modules import catalog
from envmanager.weights.store import SetState
from ga3_nodes import params

DECLARED = {
    "sigma": {
        "type": "float", "default": 1.2, "min": 0.0, "max": 50.0,
        "label": "Smoothing", "unit": "px", "help": "Width of the blur.",
    },
    "factor": {"type": "float", "default": 0.00025, "label": "Factor"},
    "count": {"type": "int", "default": 3, "min": 1, "max": 1_000_000_000, "label": "Count"},
    "fill": {"type": "bool", "default": True, "label": "Fill holes"},
    "mode": {
        "type": "choice", "default": "b", "label": "Mode",
        "choices": [{"value": "a", "label": "First"}, {"value": "b", "label": "Second"}],
    },
    "name": {"type": "text", "default": "", "label": "Name"},
    "spacing": {"type": "float", "default": 1.0, "label": "Z step", "only_3d": True},
    "model": {
        "type": "weights", "default": "cyto3", "label": "Model",
        "choices": [{"value": "cyto3", "label": "Cyto3"}, {"value": "nuclei", "label": "Nuclei"}],
    },
}  # fmt: skip
DEFAULTS = {name: spec["default"] for name, spec in DECLARED.items()}


def weights_set(name: str, *, present: bool, custom: bool = False) -> SetState:
    return SetState(name, name.capitalize(), present, 1, "MIT", "", False, custom, "")


SETS = [
    weights_set("cyto3", present=True),
    weights_set("nuclei", present=False),
    weights_set("mine", present=True, custom=True),
]


@pytest.fixture
def form(app, qtbot) -> Form:
    made = Form(app.window.context)
    qtbot.addWidget(made)
    made.set_function(DECLARED, SETS)
    made.show()
    return made


def enter(qtbot, row: Row, text: str) -> None:
    """Type a text into a field, in place of what is there."""
    row.editor.setFocus()
    row.editor.selectAll()
    qtbot.keyClicks(row.editor, text)
    qtbot.keyClick(row.editor, Qt.Key.Key_Return)


def test_it_begins_at_the_defaults_in_the_declared_types(form):
    values = form.values()
    assert values == DEFAULTS
    assert {name: type(value) for name, value in values.items()} == {
        name: type(value) for name, value in DEFAULTS.items()
    }
    assert params.complete(DECLARED, values) == values
    assert form.is_default


@pytest.mark.parametrize("name", ["classic", "cellpose", "stardist", "texture"])
def test_shipped_modules_give_their_defaults(form, name):
    for spec in catalog.load(SHIPPED_MODULES / name).functions.values():
        form.set_function(spec["parameters"])
        assert form.values() == params.complete(spec["parameters"], {})
        assert form.is_default


def test_what_is_typed_is_the_value(form, qtbot):
    rows = form.rows
    with qtbot.waitSignal(form.changed):
        enter(qtbot, rows["sigma"], "2.75")
    enter(qtbot, rows["factor"], "0,5")  # as it is written in many countries
    enter(qtbot, rows["count"], "12")
    enter(qtbot, rows["name"], "Zellen 1")
    qtbot.mouseClick(rows["fill"].editor, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    qtbot.keyClick(rows["mode"].editor, Qt.Key.Key_Up)
    values = form.values()
    assert (values["sigma"], values["factor"], values["count"]) == (2.75, 0.5, 12)
    assert (values["name"], values["fill"], values["mode"]) == ("Zellen 1", False, "a")


def test_a_number_beyond_its_limits_is_not_taken(form, qtbot):
    enter(qtbot, form.rows["sigma"], "99")
    enter(qtbot, form.rows["count"], "0")
    assert params.complete(DECLARED, form.values())  # raises where one does not fit
    assert form.values()["sigma"] <= 50
    assert form.values()["count"] >= 1


def test_a_number_is_shown_with_its_unit_and_without_needless_zeros(form):
    shown = {name: form.rows[name].editor.text() for name in ("sigma", "factor", "count")}
    assert shown == {"sigma": "1.2 px", "factor": "0.00025", "count": "3"}


def test_a_reset_is_offered_for_what_was_changed(form, qtbot):
    row = form.rows["sigma"]
    assert row._reset.isHidden()
    enter(qtbot, row, "7")
    enter(qtbot, form.rows["count"], "8")
    assert not row._reset.isHidden()
    row._reset.click()
    assert form.values() == DEFAULTS | {"count": 8}
    form.reset()
    assert form.values() == DEFAULTS
    assert form.is_default


def test_values_are_taken_over_at_once(form, qtbot):
    told = []
    form.changed.connect(lambda: told.append(form.values()))
    form.set_values({"sigma": 3.5, "mode": "a", "model": "mine"})
    assert told == [DEFAULTS | {"sigma": 3.5, "mode": "a", "model": "mine"}]


def test_what_matters_for_stacks_only_is_hidden_for_planes(form):
    assert form.rows["spacing"].isHidden()
    form.set_volume(True)
    assert not form.rows["spacing"].isHidden()
    assert "spacing" in form.values()


def test_help_and_limits_are_told(form):
    texts = [label.text() for label in form.rows["sigma"].findChildren(type(form._none))]
    assert "Width of the blur. 0 to 50 px." in texts
    tip = form.rows["sigma"].editor.toolTip()
    assert "Takes a number from 0 to 50 px; the default is 1.2 px." in tip
    for row in form.rows.values():
        name = getattr(row.editor, "choice", row.editor)
        assert name.accessibleName() or name.text(), row.name


def test_the_wheel_scrolls_the_form_and_changes_no_value(form):
    for name in ("sigma", "mode"):
        editor = form.rows[name].editor
        editor.clearFocus()
        position = QPointF(5, 5)
        event = QWheelEvent(
            position, editor.mapToGlobal(position), QPoint(), QPoint(0, 120),
            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(editor, event)
    assert form.values() == DEFAULTS


def test_an_arrow_key_changes_a_number_by_a_sensible_step(form, qtbot):
    qtbot.keyClick(form.rows["sigma"].editor, Qt.Key.Key_Up)
    assert form.values()["sigma"] == pytest.approx(1.3)
    steps = {default: step({"type": "float", "default": default}) for default in (75.0, 0.92, 0.0)}
    assert steps == {75.0: 1.0, 0.92: pytest.approx(0.01), 0.0: pytest.approx(0.1)}
    assert step({"type": "int", "default": 3}) == 1


def test_another_function_replaces_the_fields(form):
    form.set_function({"only": {"type": "int", "default": 2}})
    assert form.values() == {"only": 2}
    assert form.rows["only"].title == "only"  # a declaration by hand may lack the label
    form.set_function({})
    assert form.values() == {}
    assert not form._none.isHidden()


# ---- weights -------------------------------------------------------------------------------------


def items(form: Form) -> list[str]:
    choice = form.rows["model"].editor.choice
    return [choice.itemText(i) for i in range(choice.count()) if choice.itemText(i)]


def choose(form: Form, start: str) -> None:
    choice = form.rows["model"].editor.choice
    index = next(i for i in range(choice.count()) if choice.itemText(i).startswith(start))
    choice.setCurrentIndex(index)
    choice.activated.emit(index)  # as a click in the list does


def test_sets_of_weights_are_listed_with_what_is_present(form):
    assert items(form) == [
        "Cyto3", "Mine", "Not downloaded:", "Nuclei", "Choose a file ...", "Choose a folder ...",
    ]  # fmt: skip
    choose(form, "Mine")
    assert form.values()["model"] == "mine"
    assert form.weights_problem() == ("", False)


def test_a_set_that_is_absent_leads_to_its_download(form, qtbot):
    choose(form, "Nuclei")
    assert form.weights_problem() == ("The model nuclei is not downloaded yet.", True)
    editor = form.rows["model"].editor
    assert editor.download.isVisible()
    with qtbot.waitSignal(form.wants_weights) as wanted:
        editor.download.click()
    assert wanted.args == ["nuclei"]
    form.set_sets([weights_set("nuclei", present=True)])
    assert form.weights_problem() == ("", False)
    assert not editor.download.isVisible()
    assert form.values()["model"] == "nuclei"


def test_a_file_can_be_chosen(form, monkeypatch, tmp_path):
    path = tmp_path / "my model ü.pt"
    editor = form.rows["model"].editor
    monkeypatch.setattr(editor, "choose_file", lambda folder: path)
    choose(form, "Choose a file")
    assert form.values()["model"] == str(path)
    assert editor.choice.currentText() == path.name
    assert form.weights_problem() == ("", False)
    monkeypatch.setattr(editor, "choose_folder", lambda folder: None)
    choose(form, "Choose a folder")  # and cancelled
    assert form.values()["model"] == str(path)
    assert Path(editor.choice.currentData()) == path


def test_weights_without_a_default_must_be_chosen(form):
    form.set_function({"model": {"type": "weights", "default": "", "label": "Model"}}, SETS)
    assert form.weights_problem() == ("Choose a model.", False)
    choose(form, "Mine")
    assert form.weights_problem() == ("", False)


def test_values_in_words():
    assert value_text(DECLARED["mode"], "a") == "First"
    assert value_text(DECLARED["fill"], False) == "no"
    assert value_text(DECLARED["sigma"], 2.50) == "2.5 px"
    assert isinstance(ChoiceEditor(DECLARED["mode"]).get(), str)
    assert isinstance(NumberEditor(DECLARED["count"]).get(), int)
