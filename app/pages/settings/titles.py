"""The settings in groups, with the words that people read."""

GROUPS = {
    "Network": {
        "proxy": "Proxy",
        "certificates": "Certificates",
        "offline": "Work offline",
        "index_url": "Package index",
        "extra_index_urls": "More package indexes",
        "find_links": "Folders of wheels",
        "torch_index": "Builds of PyTorch",
        "python_mirror": "Mirror of Python",
        "resumable_downloads_above_mb": "Resume downloads above (MB)",
    },
    "Environments": {
        "python": "Python",
        "python_source": "Where Python comes from",
        "constraints": "Versions to keep to",
        "generations_kept": "Older versions to keep",
        "cache_dir": "Cache of downloads",
    },
    "NIS-Elements": {
        "nis_python": "Folder of NIS's Python",
        "auto_install": "Nodes may install modules",
        "idle_timeout_s": "Idle workers end after (s)",
    },
    "Sharing": {
        "author": "Your name",
    },
}
# What is in force where a field is empty.
EMPTY = {
    "proxy": "None",
    "certificates": "The usual ones",
    "index_url": "The usual index",
    "extra_index_urls": "None",
    "find_links": "None",
    "python_mirror": "GitHub",
    "python": "What the module asks for",
    "constraints": "None",
    "cache_dir": "A folder in the data folder",
    "nis_python": "Found by itself",
    "author": "Asked at the first export",
}
CHOICES = {
    "python_source": {
        "any": "This computer, else downloaded",
        "system": "This computer only",
        "managed": "Always downloaded",
    }
}
# What is a folder (True) or a file (False) of this computer.
PLACES = {"cache_dir": True, "nis_python": True, "find_links": True, "certificates": False}
