"""All that runs in interpreters that are not ours: the client in NIS, the host in a module.

Standard library and numpy only, Python 3.10 to 3.14.
"""

__version__ = "0.1.0"
