"""``module.toml``: what is right is read, what is wrong is named with file and key."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from envmanager.data.paths import SHIPPED_MODULES, DataFolder
from envmanager.environments.generations import requires_python
from envmanager.errors import CatalogError, UnknownModule
from envmanager.modules import catalog
from ga3_nodes import params
from ga3_nodes.running import OFFERED
from tests.envmanager.conftest import TOML, write_module

pytestmark = pytest.mark.windows


@pytest.fixture
def folder(tmp_path):
    return write_module(tmp_path / "tiny", "numpy==1.0\n")


def test_a_module_is_read_with_all_defaults_filled_in(folder):
    module = catalog.load(folder)
    assert (module.name, module.version, module.idle_timeout_s) == ("tiny", "1.0.0", 600.0)
    assert module.imports == ("numpy",)
    parameter = module.functions["segment"]["parameters"]["threshold"]
    assert parameter == {
        "type": "float",
        "default": 100.0,
        "label": "Threshold",
        "help": "",
        "unit": "",
        "min": 0.0,
    }
    assert requires_python(module) == ">=3.10"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("schema = 1", "schema = 2", "schema"),
        ("schema = 1", "", "schema"),
        ('name = "tiny"', 'name = "other"', "name"),
        ('title = "Tiny threshold"', "", "title"),
        ('title = "Tiny threshold"', "title = 5", "title"),
        ("schema = 1", "schema = 1\nsumary = 'x'", "sumary"),
        ('imports = ["numpy"]', "", "environment.imports"),
        ('imports = ["numpy"]', 'imports = "numpy"', "environment.imports"),
        ('["yx", "zyx"]', '["xy"]', "functions.segment.inputs.image.axes"),
        ('kind = "labels"', 'kind = "mask"', "functions.segment.outputs.labels.kind"),
        ('type = "float"', 'type = "real"', "functions.segment.parameters.threshold.type"),
        ("default = 100.0", "", "functions.segment.parameters.threshold.default"),
        ("default = 100.0", "default = -1", "functions.segment.parameters.threshold.default"),
        ("min = 0.0", "minimum = 0.0", "functions.segment.parameters.threshold.minimum"),
        ("min = 0.0", 'min = "0"', "functions.segment.parameters.threshold.min"),
        ("parameters.threshold]", 'parameters."two words"]', "parameters.two words"),
        ('type = "float"', 'type = "choice"', "functions.segment.parameters.threshold.choices"),
        ("[environment]", "[worker]\nenv = {A = 1}\n[environment]", "worker.env.A"),
        ("[environment]", "[worker]\nidle = 1\n[environment]", "worker.idle"),
        ("[environment]", "[worker]\nidle_timeout_s = 0\n[environment]", "worker.idle_timeout_s"),
        ("[environment]", "[worker]\nidle_timeout_s = nan\n[environment]", "idle_timeout_s"),
        ("[environment]", '[worker]\nenv = {"A=B" = "1"}\n[environment]', "worker.env.A=B"),
        ('["numpy"]', '["numpy; import os"]', "environment.imports"),
        ('"Tiny threshold"', '"two\\nlines"', "title"),
        ("inputs.image]", "inputs.class]", "inputs.class"),
        ("parameters.threshold]", "parameters.image]", "parameters.image"),
        ("parameters.threshold]", "parameters.axes]", "parameters.axes"),
        ("parameters.threshold]", "parameters.progress]", "parameters.progress"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(folder, old, new, key):
    assert old in TOML
    path = folder / "module.toml"
    path.write_text(TOML.replace(old, new, 1), "utf-8")
    with pytest.raises(CatalogError) as caught:
        catalog.load(folder)
    assert str(path) in caught.value.message
    assert key in caught.value.message


@pytest.mark.parametrize("text", ["schema = ", "\x00", "schema = 1\nschema = 1"])
def test_what_is_no_toml_is_named(folder, text):
    (folder / "module.toml").write_text(text, "utf-8")
    with pytest.raises(CatalogError, match=r"module\.toml"):
        catalog.load(folder)


def test_the_users_own_module_wins_over_a_shipped_one(data_folder):
    data = DataFolder(data_folder)
    assert catalog.find("classic", data).folder == SHIPPED_MODULES / "classic"
    own = data.user_modules / "classic"
    write_module(own, "", toml=TOML.replace('"tiny"', '"classic"'))
    assert catalog.find("classic", data).folder == own


@pytest.mark.parametrize("name", ["nothing", "../classic", "", "Classic", "a b"])
def test_an_unknown_module_is_answered_with_the_known_ones(data_folder, name):
    with pytest.raises(UnknownModule) as caught:
        catalog.find(name, DataFolder(data_folder))
    assert "classic" in caught.value.hint


@pytest.mark.parametrize("name", [path.parent.name for path in SHIPPED_MODULES.glob("*/worker.py")])
def test_a_shipped_module_is_whole(name):
    module = catalog.load(SHIPPED_MODULES / name)
    text = module.lock.read_text("utf-8")
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert (module.folder / "test_worker.py").is_file()
    assert (SHIPPED_MODULES.parent / "docs" / "modules" / f"{name}.md").is_file()
    for function in module.functions.values():
        for spec in function["parameters"].values():
            assert spec["help"]
            assert params.describe(spec)


def _defaults(path: Path, function: str) -> tuple[dict, bool]:
    """Read a function's keyword defaults, and whether it takes others, without importing it."""
    tree = ast.parse(path.read_text("utf-8"))
    found = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
    names = [argument.arg for argument in found.args.kwonlyargs]
    given = {n: d for n, d in zip(names, found.args.kw_defaults, strict=True) if d is not None}
    given = {n: d for n, d in given.items() if n not in OFFERED}  # a call gives them
    defaults = {name: ast.literal_eval(default) for name, default in given.items()}
    return defaults, found.args.kwarg is not None


@pytest.mark.parametrize("name", [path.parent.name for path in SHIPPED_MODULES.glob("*/worker.py")])
def test_declared_defaults_are_those_of_the_code(name):
    module = catalog.load(SHIPPED_MODULES / name)
    for function, spec in module.functions.items():
        defaults, takes_others = _defaults(module.folder / "worker.py", function)
        # What a call gives beside the parameters; and weights reach the code as paths.
        weights = [key for key, p in spec["parameters"].items() if p["type"] == "weights"]
        for key in ("axes", *weights):
            defaults.pop(key, None)
        declared = {key: p["default"] for key, p in spec["parameters"].items()}
        if takes_others:
            declared = {key: value for key, value in declared.items() if key in defaults}
        assert defaults == {key: value for key, value in declared.items() if key not in weights}
