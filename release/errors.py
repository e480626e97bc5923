"""What a build of a release refuses."""

from envmanager.errors import GA3EnvError


class ReleaseError(GA3EnvError):
    """A release cannot be built."""

    code = "release_failed"
