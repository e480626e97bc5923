"""A function whose only output is a table returns it as it is, or by its name."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ga3_nodes import functions
from ga3_nodes.errors import ModuleFailed

IMAGE = np.ones((2, 3), np.uint8)


def _run(returned, **kinds):
    outputs = {name: {"kind": kind} for name, kind in kinds.items()}
    spec = {"inputs": {"image": {"axes": ["yx"]}}, "outputs": outputs}
    worker = SimpleNamespace(measure=lambda image: returned)
    declaration = {"functions": {"measure": spec}}
    return functions.run_function(worker, declaration, "measure", {"image": IMAGE}, {}, {})


class Frame:
    """As a data frame of a library: columns by name, no dict."""

    def items(self):
        return [("cells", np.array([1, 2]))]


@pytest.mark.parametrize(
    ("returned", "table"),
    [
        ({"id": [1, 2], "area": np.array([0.5, 2])}, {"id": [1, 2], "area": [0.5, 2.0]}),
        ({"cells": {"id": [1, 2]}}, {"id": [1, 2]}),
        ({"cells": [1, 2]}, {"cells": [1, 2]}),
        ({"cells": {"cells": [1, 2]}}, {"cells": [1, 2]}),
        ({"cells": {}}, {}),
        ({}, {}),
        (Frame(), {"cells": [1, 2]}),
        ({"cells": Frame()}, {"cells": [1, 2]}),
    ],
)
def test_the_table_or_a_dict_with_it(returned, table):
    assert _run(returned, cells="table") == {"cells": table}


def test_a_table_beside_others_needs_its_name():
    both = {"labels": IMAGE, "cells": {"id": [1]}}
    assert _run(both, labels="labels", cells="table")["cells"] == {"id": [1]}
    for returned in ({"id": [1]}, {"labels": IMAGE, "id": [1]}):
        with pytest.raises(ModuleFailed, match="returned"):
            _run(returned, labels="labels", cells="table")


@pytest.mark.parametrize("returned", [{"cels": {"id": [1]}}, [1, 2], None, {"id": [object()]}])
def test_what_is_no_table_is_told(returned):
    with pytest.raises(ModuleFailed, match="no table"):
        _run(returned, cells="table")
