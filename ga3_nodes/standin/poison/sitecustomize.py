"""Poisons the environment of a Python child on Linux as NIS poisons it on Windows.

Put on PYTHONPATH by the stand-in, and so imported before the script runs. NIS starts the child
with PYTHONHOME set to the interpreter's folder. On Windows that folder is right; on Linux the same
would kill the child itself, so it starts clean and finds the value in `os.environ` only now:
everything that it starts inherits it.
"""

import os
import sys
from pathlib import Path

if "GA3_STANDIN_PYTHONHOME" in os.environ:
    os.environ["PYTHONHOME"] = os.environ.pop("GA3_STANDIN_PYTHONHOME")
    del os.environ["PYTHONPATH"]  # it led here, and NIS's child has none
    sys.path.remove(str(Path(__file__).parent))
