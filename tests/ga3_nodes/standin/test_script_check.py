"""NIS wants the line `import limnode`, in exactly that form."""

import pytest

from ga3_nodes.standin.nis import ScriptRefused
from tests.ga3_nodes.standin.standin_scripts import make_script

pytestmark = pytest.mark.windows


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("", "lacks the line", id="none"),
        pytest.param("import limnode as l", "'import limnode as l'", id="as"),
        pytest.param("from limnode import child_main", "'from limnode import", id="from"),
        pytest.param("import limnode, os", "lacks the line", id="two-at-once"),
        pytest.param("import os; import limnode", "lacks the line", id="behind-another"),
        pytest.param("def f():\n    import limnode", "lacks the line", id="in-a-function"),
        pytest.param("if True:\n    import limnode", "lacks the line", id="in-an-if"),
        pytest.param("'''\nimport limnode\n'''", "lacks the line", id="in-a-text"),
        pytest.param("import limnode\ndef f(:", "not valid Python", id="syntax"),
        pytest.param("import limnode\nimport limnode as l", "line 2: .* as l", id="and-as"),
        pytest.param(
            "import limnode\ndef f():\n    from limnode import print", "line 3", id="deep"
        ),
    ],
)
def test_refused(open_nis, line, message):
    script = make_script().replace("import limnode", line, 1)
    with pytest.raises(ScriptRefused, match=message):
        open_nis(script)


def test_print_of_limnode_is_for_7_only(open_nis):
    script = make_script(version=7)
    assert "from limnode import print" in script
    open_nis(script, 7)
    with pytest.raises(ScriptRefused, match="from limnode import print"):
        open_nis(script, 6)


def test_7_may_import_nothing_else_so(open_nis):
    script = make_script(version=7).replace("limnode import print", "limnode import child_main")
    with pytest.raises(ScriptRefused, match="child_main"):
        open_nis(script, 7)


def test_unknown_version(open_nis):
    with pytest.raises(ValueError, match="6 and 7"):
        open_nis(make_script(), 5)
