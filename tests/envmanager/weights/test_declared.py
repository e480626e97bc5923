"""The declaration of weights in ``module.toml``: read strictly, and told to forms and calls."""

from __future__ import annotations

import pytest

from envmanager.errors import CatalogError
from envmanager.modules import catalog
from tests.envmanager.weights.conftest import TOML, write_module

URL = "https://example.org/models"


def load(root, old="", new=""):
    folder = write_module(root, URL)
    text = TOML.format(url=URL)
    assert old in text
    (folder / "module.toml").write_text(text.replace(old, new, 1), "utf-8")
    return catalog.load(folder)


def test_known_sets_and_a_collection_are_read(data_folder):
    module = load(data_folder)
    cyto3 = module.weights["cyto3"]
    assert (cyto3.default, cyto3.license, cyto3.size) == (True, "BSD-3-Clause", 0)
    assert [file.name for file in cyto3.files] == ["cyto3", "size.npy"]
    assert module.weights["zipped"].files[0].unpack
    found = module.collection.set_of("happy-bee")
    assert (found.files[0].url, found.files[0].name) == (f"{URL}/zoo/happy-bee", "happy-bee.zip")


def test_a_parameter_knows_its_choices(data_folder):
    model = load(data_folder).functions["segment"]["parameters"]["model"]
    assert [choice["value"] for choice in model["choices"]] == ["cyto3", "nuclei", "zipped"]
    assert (model["default"], model["collection"]) == ("cyto3", "Zoo")


def test_a_default_may_be_nothing(data_folder):
    module = load(data_folder, 'default = "cyto3"', 'default = ""')
    assert module.functions["segment"]["parameters"]["model"]["default"] == ""


BROKEN = [
    ('default = "cyto3"', 'default = "cyto9"', "functions.segment.parameters.model.default"),
    ('license = "MIT"\n', "", "weights.zipped.license"),
    ("size = 290000", "size = -1", "weights.cyto3.files[0].size"),
    ("size = 290000", 'sha256 = "12"', "weights.cyto3.files[0].sha256"),
    (f"{URL}/cyto3", "http://example.org/cyto3", "weights.cyto3.files[0].url"),
    ("{ name = \"cyto3\"", "{ name = \"../cyto3\"", "weights.cyto3.files[0].name"),
    (f"{URL}/size.npy", f"{URL}/another.npy", "weights.nuclei.files"),
    ("[weights.zipped]", "[weights.Nuclei]", "weights.nuclei"),
    ("[weights.zipped]", '[weights."a b"]', "weights.a b"),
    ("[weights.zipped]", "[weights.custom]", "weights.custom"),
    ("unpack = true", "unpak = true", "weights.zipped.files[0].unpak"),
    ("zoo/{id}", "zoo", "weights_by_id.url"),
    ('file = "{id}.zip"', 'file = "../{id}"', "weights_by_id.file"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "place"), BROKEN)
def test_what_is_wrong_is_named_with_its_place(data_folder, old, new, place):
    with pytest.raises(CatalogError) as caught:
        load(data_folder, old, new)
    assert place.lower() in caught.value.message.lower()
