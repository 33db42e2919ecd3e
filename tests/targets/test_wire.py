"""Frames and the one encoding: whatever goes in comes out, in whatever portions it travels."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciflow.diagnostics import Lost
from ciflow.encoding import decode_operation, decode_reply, dumps, encode_operation, encode_reply
from ciflow.model import Detached, Exec, Http, Reply, Talk, Watch, Write
from ciflow.targets import agent, wire

frames = st.builds(
    wire.Frame,
    kind=st.sampled_from([int(kind) for kind in wire.Kind]),
    stream=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=300),
    flags=st.integers(0, 255),
)
any_bytes = st.binary(max_size=200)
arguments = st.binary(max_size=50).map(lambda b: b.replace(b"\0", b"").decode("utf-8", "surrogateescape"))


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_frames_survive_any_cutting_of_the_stream(sent: list[wire.Frame], cuts: list[int]) -> None:
    stream = b"".join(map(wire.encode_frame, sent))
    decoder, got, at = wire.Decoder(), [], 0
    while at < len(stream):
        size = cuts[len(got) % len(cuts)]
        got += list(decoder.feed(stream[at : at + size]))
        at += size
    assert got == sent


@given(st.text(max_size=50), st.integers(1, 5))
def test_a_message_longer_than_a_frame_arrives_whole(word: str, times: int) -> None:
    message = {"t": "answer", "reply": {"stdout": word * times * 5000}}
    stream = wire.encode_message(message, 7)
    pieces = list(wire.Decoder().feed(stream))
    together = wire.Messages()
    assert [m for m in map(together.add, pieces) if m is not None] == [message]
    assert all(len(piece.payload) + wire.HEAD.size <= 64 * 1024 for piece in pieces)


def test_frames_of_two_long_messages_may_interleave() -> None:
    one, two = ({"who": n, "fill": "x" * 150_000} for n in (1, 2))
    first, second = (list(wire.Decoder().feed(wire.encode_message(m, m["who"]))) for m in (one, two))
    together = wire.Messages()
    mixed = [frame for pair in zip(first, second, strict=True) for frame in pair]
    assert [m for m in map(together.add, mixed) if m is not None] == [one, two]


@pytest.mark.parametrize(
    "noise", [b"Welcome to this host! Have a nice day\n", b"\xff" * 32, b"\0\0\0\0\x63" + b"\0" * 20]
)
def test_bytes_that_are_no_frame_end_the_session(noise: bytes) -> None:
    with pytest.raises(Lost):
        list(wire.Decoder().feed(noise))


def test_a_payload_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        wire.encode_frame(wire.Frame(wire.Kind.CONTENT, 1, b"x" * (64 * 1024)))


def test_both_ends_speak_of_the_same_frame() -> None:
    assert agent.HEAD.format == wire.HEAD.format
    assert agent.MAX_PAYLOAD == wire.MAX_PAYLOAD
    assert tuple(wire.Kind) == (agent.BEAT, agent.MESSAGE, agent.CONTENT, agent.OUTPUT, agent.CREDIT)
    assert (agent.MORE, agent.STDERR, agent.QUIET) == (wire.MORE, wire.STDERR, wire.QUIET)
    assert (agent.WINDOW, agent.HEARTBEAT, agent.MISSED) == (wire.CREDIT, wire.HEARTBEAT, wire.MISSED)


@given(st.lists(arguments, min_size=1, max_size=5), any_bytes, st.dictionaries(st.just("A"), arguments))
def test_any_bytes_in_an_exec_survive_the_encoding(argv: list[str], stdin: bytes, env: dict[str, str]) -> None:
    operation = Exec(argv=tuple(argv), stdin=stdin, env=env, timeout=1.5)
    assert decode_operation(json.loads(dumps(encode_operation(operation)))) == operation


@given(any_bytes, any_bytes, st.one_of(st.none(), st.integers(-64, 255)))
def test_any_output_survives_the_encoding(out: bytes, err: bytes, rc: int | None) -> None:
    reply = Reply(stdout=out, stderr=err, rc=rc, data={"a": [1, None, {"b": True}]}, spilled={"stdout": "/x"})
    assert decode_reply(json.loads(dumps(encode_reply(reply)))) == reply


def test_operations_within_operations_survive_the_encoding() -> None:
    operation = Detached(
        key="guard",
        operations=(Talk(address="/run/haproxy.sock", payload=b"set map x\n"), Write(path="/etc/a", content=b"\xff")),
        after=60.0,
        watch=(
            Watch(read=Http(url="http://127.0.0.1/stat"), pattern="errors=([0-9]+)", limit=5.0),
            Watch(read=Exec(argv=("up",)), pattern="up", least=1.0, misses=2, every=10.0),
        ),
    )
    assert decode_operation(json.loads(dumps(encode_operation(operation)))) == operation


def test_fields_at_their_default_are_not_sent() -> None:
    encoded: dict[str, Any] = encode_operation(Exec(argv=("true",)))
    assert encoded == {"op": "exec", "argv": ["true"]}
    assert encode_reply(Reply()) == {}
