"""The engine's errors; the family's base and the errors of calls are in `ga3_nodes.errors`."""

from __future__ import annotations

from ga3_nodes.errors import (
    BadInput,
    Cancelled,
    ConfigError,
    GA3EnvError,
    NotInstalled,
    WorkerCrashed,
)

__all__ = [
    "BadInput",
    "Cancelled",
    "CatalogError",
    "ConfigError",
    "DiskFull",
    "DownloadFailed",
    "FilesInUse",
    "GA3EnvError",
    "ImageError",
    "InstallFailed",
    "ModuleInUse",
    "NotInstalled",
    "NotWritable",
    "PipelineError",
    "SettingsError",
    "ToolFailed",
    "UnknownModule",
    "UsageError",
    "WorkerCrashed",
]


class UsageError(GA3EnvError):
    """The command line is wrong."""

    code = "usage"


class CatalogError(GA3EnvError):
    """A ``module.toml`` is broken; the message names file and key."""

    code = "module_toml_invalid"


class UnknownModule(GA3EnvError):
    """No module of that name is in the catalog."""

    code = "unknown_module"


class SettingsError(GA3EnvError):
    """``settings.toml`` is broken, or a setting cannot take the value."""

    code = "settings_invalid"


class ImageError(GA3EnvError):
    """An image file cannot be read or used."""

    code = "image_unusable"


class PipelineError(BadInput):
    """A pipeline file cannot run; ``details["problems"]`` holds all that is wrong with it."""

    code = "bad_pipeline"


class ToolFailed(GA3EnvError):
    """A tool that the engine runs (uv, a module's interpreter) ended with an error."""

    code = "tool_failed"


class InstallFailed(GA3EnvError):
    """An environment could not be built; the published one is as it was."""

    code = "install_failed"


class DiskFull(GA3EnvError):
    """A volume has no room left; what was published is as it was."""

    code = "disk_full"


class DownloadFailed(GA3EnvError):
    """A file could not be downloaded, or is not the expected one."""

    code = "download_failed"


class ModuleInUse(GA3EnvError):
    """A worker of the module is in the middle of a call."""

    code = "module_in_use"


class FilesInUse(GA3EnvError):
    """Another program has a file open, so that Windows does not let its folder go."""

    code = "files_in_use"


class NotWritable(GA3EnvError):
    """The account may not change a data folder; nothing was changed."""

    code = "not_writable"
