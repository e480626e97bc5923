"""One window per user and data folder: a second start brings the first one to the front."""

from __future__ import annotations

import ctypes
import getpass
import hashlib
import os

from PySide6.QtCore import QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from ga3_nodes import home

_PATIENCE_MS = 1000
_ANY_PROCESS = -1


class SingleInstance(QObject):
    """The claim to be the only window; `called` tells of a later start and what it was given."""

    called = Signal(list)  # of str: the later start's arguments

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        who = f"{getpass.getuser()}\n{os.path.normcase(home.places()[0])}"
        self._name = "ga3env-" + hashlib.sha256(who.encode()).hexdigest()[:16]
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._answer)

    def claim(self, arguments: list[str]) -> bool:
        """Become the one window; False where there is one, which has got `arguments`."""
        if self._hand_over(arguments):
            return False
        if not self._server.listen(self._name):
            QLocalServer.removeServer(self._name)  # of an app that was killed
            self._server.listen(self._name)
        return True

    def release(self) -> None:
        """Let another start be the one window."""
        self._server.close()

    def _hand_over(self, arguments: list[str]) -> bool:
        socket = QLocalSocket()
        socket.connectToServer(self._name)
        if not socket.waitForConnected(_PATIENCE_MS):
            return False
        _let_others_come_forward()
        socket.write("\n".join(arguments).encode() + b"\0")
        socket.waitForBytesWritten(_PATIENCE_MS)
        socket.waitForDisconnected(_PATIENCE_MS)
        return True

    def _answer(self) -> None:
        while socket := self._server.nextPendingConnection():
            socket.setParent(self)
            socket.disconnected.connect(socket.deleteLater)
            socket.readyRead.connect(lambda socket=socket: self._read(socket))
            self._read(socket)

    def _read(self, socket: QLocalSocket) -> None:
        if socket.bytesAvailable() and bytes(socket.peek(1 << 16).data()).endswith(b"\0"):
            text = bytes(socket.readAll().data()).rstrip(b"\0").decode("utf-8", "replace")
            socket.disconnectFromServer()
            self.called.emit(text.split("\n") if text else [])


def _let_others_come_forward() -> None:
    """Give the right to come to the front, which Windows gives to the program just started."""
    if windows := getattr(ctypes, "windll", None):
        windows.user32.AllowSetForegroundWindow(_ANY_PROCESS)
