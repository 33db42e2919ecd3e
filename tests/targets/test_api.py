"""Requests to an API beside the controller: answered like operations of a host, bounded, never ok by accident."""

import queue
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from ciflow.diagnostics import Refused
from ciflow.encoding import decode_operation, encode_operation
from ciflow.model import Api, Reply
from ciflow.targets import APIS
from ciflow.targets.api import ApiSession, open_session
from ciflow.targets.connection import Connection
from ciflow.targets.told import Answer, Asked, Output, Ready

ASK = Api(kind="docker", request={"get": "containers"})


class Asking:
    """A session to APIs, and what it says."""

    def __init__(self) -> None:
        self.said: queue.Queue[Any] = queue.Queue()
        self.shown: list[Output] = []
        session = open_session(Connection(kind="api"), project="p", run="r", token=1, inbox=self.said.put)
        assert isinstance(session, ApiSession)
        self.session = session
        assert isinstance(self.said.get(timeout=60), Ready)

    def reply(self, operation: Api = ASK) -> Reply:
        self.session.submit("lane", "key", operation)
        self.session.flush()
        while isinstance(answer := self.said.get(timeout=60), Output):
            self.shown.append(answer)
        assert isinstance(answer, Answer)
        return answer.reply


def test_a_request_survives_being_written_down() -> None:
    operation = Api(kind="kubernetes", request={"verb": "apply", "object": {"a": [1, "é", None]}}, repeat=False)
    assert decode_operation(encode_operation(operation)) == operation


def test_what_an_api_answers_is_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(APIS, "docker", lambda request, _stop: Reply(data={"asked": request["get"]}))
    assert Asking().reply().data == {"asked": "containers"}


def test_what_an_api_shows_before_its_end_is_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def show(request: Mapping[str, Any], _stop: threading.Event) -> Reply:
        request["tell"](b"half way\n")
        return Reply()

    monkeypatch.setitem(APIS, "docker", show)
    asking = Asking()
    assert asking.reply().ok
    assert [(one.stream, one.data) for one in asking.shown] == [("stdout", b"half way\n")]


def test_a_refusal_is_a_failure_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_request: Mapping[str, Any], _stop: threading.Event) -> Reply:
        raise Refused("not like that", help="like this")

    monkeypatch.setitem(APIS, "docker", refuse)
    reply = Asking().reply()
    assert (reply.ok, reply.error) == (False, "not like that (like this)")


def test_what_breaks_in_the_middle_is_unknown_never_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(_request: Mapping[str, Any], _stop: threading.Event) -> Reply:
        raise ValueError("no JSON")

    monkeypatch.setitem(APIS, "docker", burst)
    reply = Asking().reply()
    assert (reply.status, reply.ok) == ("unknown", False)


def test_a_wait_ends_when_it_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = threading.Event()

    def wait(_request: Mapping[str, Any], stop: threading.Event) -> Reply:
        waits.set()
        return Reply(ok=not stop.wait(60))

    monkeypatch.setitem(APIS, "docker", wait)
    asking = Asking()
    asking.session.submit("lane", "key", ASK)
    assert not waits.wait(0.1)  # nothing leaves before it is recorded
    asking.session.flush()
    assert waits.wait(60)
    asking.session.abort("key")
    assert not asking.said.get(timeout=60).reply.ok


def test_what_follows_in_a_lane_waits_until_what_was_given_up_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the removal would come before what it is to remove. Other lanes go on."""
    began, may_end, done = threading.Event(), threading.Event(), list[str]()

    def work(request: Mapping[str, Any], _stop: threading.Event) -> Reply:
        if request["get"] == "made":
            began.set()
            assert may_end.wait(60)
        done.append(request["get"])
        return Reply()

    monkeypatch.setitem(APIS, "docker", work)
    asking = Asking()
    for lane, key in (("one", "made"), ("one", "removed"), ("two", "other"), ("two", "last")):
        asking.session.submit(lane, key, Api(kind="docker", request={"get": key}))
        asking.session.flush()
        if key == "made":
            assert began.wait(60)
            asking.session.abort(key)
    assert {asking.said.get(timeout=60).key for _ in range(2)} == {"other", "last"}
    may_end.set()
    assert {asking.said.get(timeout=60).key for _ in range(2)} == {"made", "removed"}
    assert done[2:] == ["made", "removed"]


def test_nobody_claims_to_know_what_an_earlier_process_asked() -> None:
    asking = Asking()
    asking.session.ask(["key"])
    said = asking.said.get(timeout=60)
    assert isinstance(said, Asked) and said.state == "unknown"
