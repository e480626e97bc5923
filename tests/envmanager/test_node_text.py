"""The text of generated node scripts: for people to read, light at its module level, or refused."""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
import textwrap

import pytest

from envmanager import cli, nodes
from envmanager.data.paths import SHIPPED_MODULES
from envmanager.errors import BadInput, CatalogError
from envmanager.modules import catalog
from tests import node_lab
from tests.support import publish

pytestmark = pytest.mark.windows


@pytest.fixture
def classic():
    return catalog.load(SHIPPED_MODULES / "classic")


@pytest.fixture
def lab(data_folder):
    return node_lab.declared(data_folder)


def test_nothing_heavy_is_imported_before_run(classic, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import limnode, limnode_types\n"
        "before = set(sys.modules)\n"
        "names = {}\n"
        "exec(compile(open(sys.argv[2], encoding='utf-8').read(), 'node', 'exec'), names)\n"
        "names['output']([], [limnode_types.BinaryDefinition()])\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    path = tmp_path / "node.py"
    path.write_text(nodes.script(classic, {}), "utf-8")
    standin = str(SHIPPED_MODULES.parent / "ga3_nodes" / "standin")
    done = subprocess.run(
        [sys.executable, "-c", code, standin, str(path)], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_script_is_for_people_to_read_and_change(classic):
    text = nodes.script(classic, {"smoothing": 2.5})
    tree = ast.parse(text)
    assigned = {n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign)}
    assert ast.literal_eval(assigned["NAME"]) == classic.title
    values = ast.literal_eval(assigned["PARAMETERS"])
    assert values["smoothing"] == 2.5
    declared = classic.functions["segment"]["parameters"]
    assert list(values) == list(declared)
    for spec in declared.values():
        assert spec["label"] in text
        for choice in spec.get("choices", []):
            assert choice["label"] in text
    assert "a number from 0 to 50 px" in text
    (line,) = [line for line in text.splitlines() if "Matters only for 3-D" in line]
    assert declared["z_spacing"]["label"] in line
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "import limnode\n" in text


def test_many_outputs_stand_below_each_other():
    for count in (1, 3, 12):
        names = [f"labels_of_kind_{number}" for number in range(count)]
        lines = nodes._outputs(names)
        assert len(lines) == (count + 2 if count > 3 else 1)
        assert max(len(line) for line in lines) <= 100
        (statement,) = ast.parse(textwrap.dedent("\n".join(lines))).body
        pairs = zip(statement.value.keys, statement.value.values, strict=True)
        read = {key.value: ast.unparse(value) for key, value in pairs}
        assert read == {name: f"out[{index}]" for index, name in enumerate(names)}


def test_the_head_of_a_script_tells_how_to_set_the_node_up(lab):
    text = nodes.script(lab, {}, function="analyse", binary="uint8")
    ports = [line for line in text.splitlines() if line.startswith("#   ")]
    assert ports == [
        "#   input 1: cytoplasm (channel, 2-D or 3-D, mono)",
        "#   input 2: nucleus (channel, 2-D or 3-D, mono)",
        "#   output 1: cells (binary, with a gap between objects that touch)",
        "#   output 2: ratio (channel)",
        "#   output 3: objects (table)",
    ]
    assert "3-D slice by slice" in nodes.script(lab, {}, function="plain")
    measure = dict(lab.functions["measure"], outputs={"labels": {"kind": "labels"}})
    other = dataclasses.replace(lab, functions={"measure": measure})
    text = nodes.script(other, {}, function="measure")
    assert "#   input 1: image (channel, 2-D, mono or RGB)\n" in text
    assert "#   input 2: objects (binary of type int32, 2-D)\n" in text


def test_a_table_without_declared_columns_makes_no_node(lab):
    with pytest.raises(BadInput, match=r"which columns its table 'objects' has.*module\.toml"):
        nodes.script(lab, {}, function="measure")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('type = "int"', 'type = "text"', "columns\\[0\\].type is 'text'"),
        ('name = "area"', 'name = "id"', "columns holds a name twice"),
        ('name = "id", ', "", "columns\\[0\\].name is missing"),
        ("slice_by_slice = false", "slice_by_slice = true", "beside an output that is a table"),
        ("slice_by_slice = false", "slice_by_slice = 1", "must be true or false"),
        ("nucleus = { axes", 'nucleus = { kind = "table", axes', "nucleus.kind is 'table'"),
        ('kind = "labels" }', 'kind = "labels", columns = [] }', "columns is not known"),
    ],
)
def test_a_wrong_declaration_names_its_place(lab, old, new, problem):
    path = lab.folder / "module.toml"
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(CatalogError, match=problem):
        catalog.load(lab.folder)


def test_the_node_command_brings_the_client_that_its_script_needs(classic, data_folder, tmp_path):
    publish(data_folder, classic.declaration(), node_lab.WORKER)
    config = json.loads((data_folder / "config.json").read_text("utf-8"))
    (data_folder / "config.json").write_text(json.dumps(config | {"client_dir": "old"}), "utf-8")
    target = tmp_path / "node.py"
    assert cli.main(["node", "classic", "--binary", "uint8", "-o", str(target)]) == 0
    assert ".makeUInt8()" in target.read_text("utf-8")
    now = json.loads((data_folder / "config.json").read_text("utf-8"))
    assert (data_folder / now["client_dir"] / "ga3_nodes" / "node.py").is_file()
    assert now["modules"] == config["modules"]
    (data_folder / "config.json").write_text("{", "utf-8")
    assert cli.main(["node", "classic", "-o", str(target)]) == 0  # it needs no data folder
    assert (data_folder / "config.json").read_text("utf-8") == "{"


@pytest.mark.parametrize(
    ("values", "function"), [({"nothing": 1}, "segment"), ({"smoothing": -1}, "segment"), ({}, "x")]
)
def test_a_script_with_wrong_parameters_is_not_made(classic, values, function):
    with pytest.raises(BadInput):
        nodes.script(classic, values, function=function)
