"""The control channel between client and worker: JSON messages after a mutual proof of the key.

Messages travel with `multiprocessing.connection`'s ``send_bytes`` (a named pipe on Windows, a
socket elsewhere). Nothing that arrives is ever unpickled or evaluated. The handshake is our own,
because `multiprocessing`'s changed with Python 3.12, blocks without limit, and proves no version::

    worker -> client   {"challenge"}
    client -> worker   {"hello": {...}, "challenge", "proof"}
    worker -> client   {"welcome": {...}, "proof"}   or   {"error": {...}}

After it, with the type of each message in ``type``::

    client -> worker   call {id, function, params, axes, arrays; progress, slot, mark, small},
                       cancel {id}, status, stop
    worker -> client   started {id}, progress {id, done, text},
                       result {id, outputs, seconds, device; notes} or error {id, error}

What stands behind a semicolon may be absent, and a side does not send what the other did not ask
for: a host and a client may be of different versions of the app. `mark` names the segment where
the worker writes the call's number in place of ``started``, which would wake the client in vain.
`small` names labels that may come in a smaller type than int32: the client casts them as it
writes them where they end.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import select
import socket
import struct
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from ga3_nodes.errors import GA3EnvError, ProtocolError, from_dict

try:
    import _winapi
except ImportError:  # not Windows
    _winapi = None  # type: ignore[assignment,unused-ignore]

PROTOCOL = 1
# A client in a running NIS may be one version older than the environment's host.
SPOKEN = (PROTOCOL - 1, PROTOCOL)
MAX_MESSAGE = 64 << 20  # bytes; tables travel as JSON
MAX_GREETING = 1 << 16
GREETING_TIMEOUT_S = 5.0

Message = dict[str, Any]


class ConnectionLost(GA3EnvError):
    """The peer closed the connection."""

    code = "connection_lost"


def listen(address: str) -> Listener:
    """Return a listener at a pipe's name or a socket's path; once in a process."""
    if _is_pipe(address):
        return Listener(address, backlog=16)
    # The folder stays open: the listener removes its socket through it when it closes.
    folder = os.open(os.path.dirname(address), os.O_RDONLY)
    return Listener(_through(folder, address), backlog=16)


def connect(address: str) -> Connection:
    """Connect to a worker, which then waits for `greet`.

    Raises
    ------
    OSError
        Nobody listens there.
    """
    if _is_pipe(address):
        return Client(address)
    folder = os.open(os.path.dirname(address), os.O_RDONLY)
    try:
        return Client(_through(folder, address))
    finally:
        os.close(folder)


def _is_pipe(address: str) -> bool:
    return address.startswith("\\\\.\\pipe\\")


def _through(folder: int, address: str) -> str:
    """Reach a socket through its open folder: AF_UNIX takes about 100 characters only."""
    return f"/proc/self/fd/{folder}/{os.path.basename(address)}"


def send(connection: Connection, message: Message) -> None:
    """Send one message, however long the peer takes to read it.

    Raises
    ------
    ConnectionLost
        The peer is gone.
    ProtocolError
        The message is larger than `MAX_MESSAGE`.
    """
    data = _encode(message)
    try:
        connection.send_bytes(data)
    except (OSError, ValueError) as error:
        raise ConnectionLost(f"The connection is lost: {error}.") from error


def _encode(message: Message) -> bytes:
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE:
        raise ProtocolError(
            f"A message of {len(data) / 1e6:.0f} MB is larger than {MAX_MESSAGE / 1e6:.0f} MB."
        )
    return data


class Watch:
    """Tells whether something has come; `Connection.poll` makes what it needs anew each time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._poller = None
        if _winapi is None:
            self._poller = select.poll()
            self._poller.register(connection.fileno(), select.POLLIN)

    def poll(self, timeout: float) -> bool:
        """Wait for at most `timeout` seconds for a message, or for the end of the connection.

        Raises
        ------
        OSError
            The connection has ended (Windows).
        """
        if self._poller is None:
            return self._connection.poll(timeout)
        return bool(self._poller.poll(timeout * 1000))


class Sender:
    """Sends to a peer that may have stopped reading, as a suspended program has.

    Parameters
    ----------
    timeout : float
        Seconds that the peer may read nothing of a message.
    """

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        if _winapi is None:
            seconds, rest = divmod(timeout, 1)
            limit = struct.pack("@ll", int(seconds), int(rest * 1e6))  # struct timeval
            with self._socket() as channel:
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def deliver(self, message: Message) -> None:
        """Send one message; a connection that this loses is of no further use: `drop` it.

        Raises
        ------
        ConnectionLost
            The peer is gone, or does not read.
        ProtocolError
            The message is larger than `MAX_MESSAGE`.
        """
        if _winapi is None:
            send(self._connection, message)
            return
        try:
            _write_pipe(self._connection.fileno(), _encode(message), self._timeout)
        except (OSError, ValueError) as error:
            raise ConnectionLost(f"The connection is lost: {error}.") from error

    def drop(self) -> None:
        """End the connection at once, also for a thread that waits for its messages."""
        try:
            if _winapi is None:
                with self._socket() as channel:
                    channel.shutdown(socket.SHUT_RDWR)
            else:
                _disconnect_pipe(self._connection.fileno())
        except OSError:
            pass  # it has ended already

    def _socket(self) -> socket.socket:
        """Return a second handle of the connection's socket; the caller closes it."""
        descriptor = os.dup(self._connection.fileno())
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)


def _write_pipe(handle: int, data: bytes, timeout: float) -> None:
    # What PipeConnection.send_bytes does, except that it waits without limit.
    write, error = _winapi.WriteFile(handle, data, overlapped=True)  # type: ignore[attr-defined,unused-ignore]
    if error == _winapi.ERROR_IO_PENDING:  # type: ignore[attr-defined,unused-ignore]
        milliseconds = int(timeout * 1000)
        if _winapi.WaitForSingleObject(write.event, milliseconds):  # type: ignore[attr-defined,unused-ignore]
            write.cancel()
    written, error = write.GetOverlappedResult(True)
    if error or written != len(data):
        raise TimeoutError("the peer does not read")


def _disconnect_pipe(handle: int) -> None:
    import ctypes

    kernel32 = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    kernel32.DisconnectNamedPipe(ctypes.c_void_p(handle))


def receive(
    connection: Connection, timeout: float | None = None, limit: int = MAX_MESSAGE
) -> Message:
    """Receive one message, waiting for at most `timeout` seconds.

    Raises
    ------
    ConnectionLost
        The peer is gone.
    ProtocolError
        Nothing came in time, or what came is too large or no JSON object.
    """
    try:
        if timeout is not None and not connection.poll(timeout):
            raise ProtocolError(f"The peer stayed silent for {timeout:g} s.")
        data = connection.recv_bytes(limit)
    except (EOFError, OSError) as error:
        if "bad message length" in str(error):
            raise ProtocolError(f"A message is larger than {limit} bytes.") from error
        raise ConnectionLost("The connection is lost.") from error
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A message is not JSON: {error}.") from error
    if not isinstance(message, dict):
        raise ProtocolError("A message is not a JSON object.")
    return message


def welcome(connection: Connection, key: bytes, about: Message) -> Message:
    """Greet a client as the worker; return the client's hello.

    Raises
    ------
    ProtocolError
        Wrong key or version; the client was told before.
    ConnectionLost
        The client is gone.
    """
    mine = secrets.token_hex(16)
    send(connection, {"challenge": mine})
    answer = _greeting(connection)
    hello, theirs = answer.get("hello"), str(answer.get("challenge"))
    if not isinstance(hello, dict) or not _proves(answer, key, "client", mine, hello):
        raise _refuse(connection, ProtocolError("The key is wrong.", code="wrong_key"))
    if hello.get("protocol") not in SPOKEN:
        raise _refuse(
            connection,
            ProtocolError(
                f"The worker speaks protocol {PROTOCOL}, the client {hello.get('protocol')}.",
                "Restart NIS-Elements so that it loads the current client.",
                code="wrong_version",
            ),
        )
    send(connection, {"welcome": about, "proof": _proof(key, "worker", theirs, about)})
    return hello


def greet(connection: Connection, key: bytes, about: Message) -> Message:
    """Introduce the client to the worker; return the worker's welcome.

    Raises
    ------
    ProtocolError
        The worker refuses, or does not know the key itself.
    ConnectionLost
        The worker is gone.
    """
    theirs = str(_greeting(connection).get("challenge"))
    mine = secrets.token_hex(16)
    proof = _proof(key, "client", theirs, about)
    send(connection, {"hello": about, "challenge": mine, "proof": proof})
    answer = _greeting(connection)
    if "error" in answer:
        told = from_dict(answer["error"])
        raise ProtocolError(told.message, told.hint, code=told.code)
    if not _proves(answer, key, "worker", mine, answer.get("welcome")):
        raise ProtocolError("The worker does not know the key.", code="wrong_key")
    return dict(answer["welcome"])


def _greeting(connection: Connection) -> Message:
    return receive(connection, GREETING_TIMEOUT_S, MAX_GREETING)


def _refuse(connection: Connection, error: ProtocolError) -> ProtocolError:
    send(connection, {"error": error.to_dict()})
    return error


def _proof(key: bytes, role: str, challenge: str, about: object) -> str:
    text = json.dumps([role, challenge, about], sort_keys=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _proves(answer: Message, key: bytes, role: str, challenge: str, about: object) -> bool:
    proof = answer.get("proof")
    return isinstance(proof, str) and hmac.compare_digest(
        proof.encode(), _proof(key, role, challenge, about).encode()
    )
