"""Faults that the engine must survive: real commands, real uv, real workers."""

import pytest

pytest.register_assert_rewrite("tests.faults.bench")
