"""The weights of modules: downloaded, imported, checked and removed, in ``ROOT/weights/``."""
