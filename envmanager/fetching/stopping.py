"""One wish to stop for several downloads at once."""

from __future__ import annotations

from envmanager.events import CancelToken


class Stop(CancelToken):
    """Stops several downloads: by the user's wish, or because one of them failed."""

    def __init__(self, other: CancelToken) -> None:
        super().__init__()
        self._other = other

    @property
    def cancelled(self) -> bool:
        """Whether the downloads shall stop."""
        return self._other.cancelled or super().cancelled
