"""Who may talk to a worker, and what nobody can do to it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ga3_nodes import client, home, records, wire

pytestmark = pytest.mark.windows


PROJECT = Path(__file__).resolve().parents[2]


IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def _call(**keywords):
    return client.call("echo", "segment", {"image": IMAGE}, **keywords)


def test_a_silent_peer_blocks_nobody(echo):
    _call()
    ((_, record),) = records.live(echo)
    silent = [wire.connect(record.address) for _ in range(3)]
    try:
        assert _call()["labels"].any()
        assert client.status(record)["ready"]
    finally:
        for connection in silent:
            connection.close()


def test_a_stranger_without_the_key_gets_nothing(echo):
    _call()
    ((_, record),) = records.live(echo)
    connection = wire.connect(record.address)
    with pytest.raises(wire.GA3EnvError) as caught:
        wire.greet(connection, b"wrong", {"protocol": wire.PROTOCOL})
    connection.close()
    assert caught.value.code == "wrong_key"
    assert _call()["labels"].any()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_key_and_socket_are_for_the_user_alone(echo):
    _call()
    folder = home.run_dir(echo)
    assert folder.stat().st_mode & 0o077 == 0
    assert records.record_path(records.stem(echo, "echo", 1)).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "message",
    [
        {"type": "call"},
        {"type": "call", "id": 1, "function": "segment", "arrays": {"image": {}}, "params": {}},
        {"type": "call", "id": 1, "function": "__import__", "arrays": {}, "params": {}},
        {"type": "call", "id": [], "function": "segment", "arrays": [], "params": None},
        {"type": "nonsense"},
        {},
    ],
)
def test_malformed_messages_of_a_client_are_answered_and_survived(echo, message):
    pid = _call().worker_pid
    ((_, record),) = records.live(echo)
    connection = wire.connect(record.address)
    wire.greet(connection, bytes.fromhex(record.key), {"protocol": wire.PROTOCOL})
    wire.send(connection, message)
    replies = [wire.receive(connection, 20)]
    if replies[0]["type"] == "started":
        replies.append(wire.receive(connection, 20))
    connection.close()
    assert replies[-1]["type"] in ("error", "unknown")
    assert _call().worker_pid == pid
