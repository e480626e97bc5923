"""The settings in groups, with the names that people read."""

GROUPS = {
    "Network": {
        "proxy": "Proxy",
        "certificates": "Certificates",
        "offline": "Never use the network",
        "index_url": "Package index",
        "extra_index_urls": "More package indexes",
        "find_links": "Folders of wheels",
        "torch_index": "Builds of PyTorch",
        "python_mirror": "Mirror of Python",
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
}
