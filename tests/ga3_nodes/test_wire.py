"""The control channel: the proof of the key, versions, sizes, and peers that misbehave."""

from __future__ import annotations

import contextlib
import json
import threading
from multiprocessing import Pipe

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ga3_nodes import wire
from ga3_nodes.errors import GA3EnvError, ProtocolError

pytestmark = pytest.mark.windows

KEY = b"k" * 32
HELLO = {"protocol": wire.PROTOCOL, "program": "test", "pid": 1}


@pytest.fixture
def pipe():
    ends = Pipe()
    yield ends
    for end in ends:
        end.close()


def _meet(pipe, client_key=KEY, worker_key=KEY, hello=HELLO):
    """Run both sides of a handshake; return what each got or raised."""
    outcome = {}

    def worker():
        try:
            outcome["worker"] = wire.welcome(pipe[0], worker_key, {"pid": 2})
        except GA3EnvError as error:
            outcome["worker"] = error

    thread = threading.Thread(target=worker)
    thread.start()
    try:
        outcome["client"] = wire.greet(pipe[1], client_key, hello)
    except GA3EnvError as error:
        outcome["client"] = error
    thread.join(20)
    return outcome


def test_both_sides_learn_of_each_other(pipe):
    assert _meet(pipe) == {"worker": HELLO, "client": {"pid": 2}}


def test_a_client_of_the_version_before_is_welcome(pipe):
    hello = HELLO | {"protocol": wire.PROTOCOL - 1}
    assert _meet(pipe, hello=hello)["worker"] == hello


@pytest.mark.parametrize("version", [None, "1", wire.PROTOCOL + 1, -1])
def test_a_wrong_version_is_refused_on_both_sides(pipe, version):
    outcome = _meet(pipe, hello=HELLO | {"protocol": version})
    assert outcome["worker"].code == outcome["client"].code == "wrong_version"
    assert "Restart NIS-Elements" in outcome["client"].hint


def test_a_wrong_key_is_refused_on_both_sides(pipe):
    outcome = _meet(pipe, client_key=b"x" * 32)
    assert outcome["worker"].code == outcome["client"].code == "wrong_key"


def test_a_worker_that_does_not_know_the_key_is_not_believed(pipe):
    def impostor():
        wire.send(pipe[0], {"challenge": "00"})
        wire.receive(pipe[0], 10)
        wire.send(pipe[0], {"welcome": {"pid": 2}, "proof": "00"})

    thread = threading.Thread(target=impostor)
    thread.start()
    with pytest.raises(ProtocolError, match="does not know the key"):
        wire.greet(pipe[1], KEY, HELLO)
    thread.join(20)


def test_a_proof_cannot_be_replayed_for_another_challenge():
    first = wire._proof(KEY, "client", "challenge 1", HELLO)
    answer = {"proof": first}
    assert wire._proves(answer, KEY, "client", "challenge 1", HELLO)
    assert not wire._proves(answer, KEY, "client", "challenge 2", HELLO)
    assert not wire._proves(answer, KEY, "worker", "challenge 1", HELLO)
    assert not wire._proves(answer, KEY, "client", "challenge 1", HELLO | {"pid": 3})


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_arrives_is_a_message_or_a_protocol_error(data):
    ours, theirs = Pipe()
    try:
        theirs.send_bytes(data)
        try:
            assert isinstance(wire.receive(ours, 10), dict)
        except ProtocolError:
            pass
    finally:
        ours.close()
        theirs.close()


def test_an_oversized_message_is_refused_without_reading_it(pipe):
    thread = threading.Thread(target=_send_quietly, args=(pipe[1], b"x" * 100_000))
    thread.start()
    with pytest.raises(GA3EnvError):
        wire.receive(pipe[0], 10, limit=1000)
    pipe[0].close()
    thread.join(20)
    assert not thread.is_alive()


def _send_quietly(connection, data):
    try:
        connection.send_bytes(data)
    except OSError:
        pass


def test_a_peer_that_is_gone_is_a_lost_connection(pipe):
    pipe[1].close()
    with pytest.raises(wire.ConnectionLost):
        wire.receive(pipe[0], 10)
    with pytest.raises(wire.ConnectionLost):
        wire.send(pipe[0], {"a": "x" * 1_000_000})


def test_a_silent_peer_ends_the_wait(pipe):
    with pytest.raises(ProtocolError, match="silent"):
        wire.receive(pipe[0], 0.05)


def test_a_peer_that_does_not_read_is_given_up_and_its_reader_wakes_up():
    near, far = Pipe()
    lost = threading.Event()

    def read():
        with contextlib.suppress(wire.ConnectionLost):
            wire.receive(near)
        lost.set()

    thread = threading.Thread(target=read)
    thread.start()
    sender = wire.Sender(near, 0.3)
    with pytest.raises(wire.ConnectionLost):
        sender.deliver({"large": "x" * 20_000_000})
    assert not lost.is_set()
    sender.drop()
    thread.join(30)
    assert lost.is_set()
    with pytest.raises(wire.ConnectionLost):
        wire.receive(far)
    sender.drop()  # a second time does no harm
    near.close()
    far.close()
