"""What each kind of receiver is sent, by the words of those who specify it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ciflow.cli.notify import command
from ciflow.lang.notifications import KINDS, MOMENTS, SAMPLE, TROUBLE, USUAL, USUAL_OF, WELL, sample
from ciflow.lang.schema import part_schema
from ciflow.report.messages import Call, Mail, Message, Post, for_slack, message, signature, where
from ciflow.report.occasions import Occasions
from tests.report.story import Story


def sent(kind: str, settings: dict[str, Any], on: str = "failed", body: Any = None, **event: Any) -> Message:
    return message(kind, settings, {**sample(on), **event}, body, 1614265330.0)


def posted(kind: str, settings: dict[str, Any], on: str = "failed", **event: Any) -> Any:
    made = sent(kind, {"url": "https://example.com/x", **settings}, on, **event)
    assert isinstance(made, Post)
    return json.loads(made.body)


def test_the_signature_is_that_of_the_example_of_standard_webhooks() -> None:
    """The pair of secret and signature that its reference libraries are tested by."""
    made = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhook_gets_the_event_signed_and_headers_of_one_s_own() -> None:
    made = sent("webhook", {"url": "https://example.com", "secret": "abc", "headers": {"content-type": "a/b", "X": 1}})
    assert isinstance(made, Post)
    assert json.loads(made.body) == sample("failed")
    assert made.headers["content-type"] == "a/b" and "Content-Type" not in made.headers and made.headers["X"] == "1"
    assert made.headers["webhook-id"] == SAMPLE["id"] and made.headers["webhook-timestamp"] == "1614265330"
    assert made.headers["webhook-signature"] == signature("abc", SAMPLE["id"], 1614265330, made.body)
    plain = sent("webhook", {"url": "https://example.com"}, body="só")
    assert isinstance(plain, Post) and plain.body == "só".encode() and "webhook-signature" not in plain.headers


def test_slack_gets_blocks_and_the_same_as_text_for_what_knows_none() -> None:
    made = posted("slack", {"channel": "#ops"}, title="a failed", text="because")
    assert made["text"] == made["blocks"][0]["text"]["text"] == "*a failed*\nbecause"
    assert made["channel"] == "#ops"
    assert len(posted("slack", {}, text="x" * 10_000)["blocks"][0]["text"]["text"]) <= 3000


def test_nothing_from_a_run_links_or_calls_anybody_in_a_chat() -> None:
    assert for_slack({"a": ["<!channel> & <http://x|y>", "@here ann@host", 3]}) == {
        "a": ["&lt;!channel&gt; &amp; &lt;http://x|y&gt;", "@\u200bhere ann@\u200bhost", 3]
    }
    card = posted("teams", {}, text="[a](http://x)\n**b**")["attachments"][0]["content"]
    assert card["type"] == "AdaptiveCard"
    assert {run["type"] for block in card["body"] for run in block["inlines"]} == {"TextRun"}, "which knows no Markdown"


def test_pagerduty_opens_one_incident_and_closes_it() -> None:
    keys = set()
    for on in TROUBLE:
        made = posted("pagerduty", {"routing_key": "k"}, on)
        assert made["event_action"] == "trigger" and made["routing_key"] == "k"
        assert made["payload"]["severity"] in ("critical", "error", "warning", "info")
        assert made["payload"]["summary"] and made["payload"]["source"] == "ci"
        keys.add(made["dedup_key"])
    for on in WELL:
        made = posted("pagerduty", {"routing_key": "k"}, on)
        assert made["event_action"] == "resolve" and "payload" not in made
        keys.add(made["dedup_key"])
    assert len(keys) == 1
    tried = posted("pagerduty", {"routing_key": "k", "dedup_key": "d" * 300}, test=True)
    assert (
        tried["payload"]["severity"] == "info" and len(tried["dedup_key"]) == 255 and tried["dedup_key"][-4:] == "test"
    )
    assert where("pagerduty", {"routing_key": "k"}) == "events.pagerduty.com"


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_a_mail_goes_to_the_usual_port_under_the_moment_s_id(tls: str, port: int) -> None:
    settings = {"recipients": ["a@example.com"], "from": "Shop <s@example.com>", "host": "smtp", "tls": tls}
    made = sent("email", settings)
    assert isinstance(made, Mail)
    assert (made.port, made.tls, made.id) == (port, tls, "<R-1-0a1b2c.failed.1@example.com>")


def test_a_program_reads_the_event() -> None:
    made = sent("command", {"argv": ["a", 1], "env": {"B": 2}, "timeout": 3.0})
    assert isinstance(made, Call)
    assert (made.argv, made.env, made.timeout) == (["a", "1"], {"B": "2"}, 3.0)
    assert json.loads(made.stdin) == sample("failed")


def test_no_words_tell_an_address_beyond_its_host() -> None:
    for kind in ("slack", "teams", "webhook"):
        assert where(kind, {"url": "https://example.com:8443/secret?key=secret"}) == "example.com:8443"
    assert where("command", {"argv": ["/opt/page", "secret"]}) == "page"


def test_every_kind_has_a_schema_and_hears_what_it_may() -> None:
    allowed = part_schema("notification").fields["on"]["schema"]["allowed"]
    assert set(allowed) == set(MOMENTS) >= {*TROUBLE, *WELL, *USUAL}
    (chosen,) = (one for one in command.params if one.name == "on")
    assert chosen.type.to_info_dict()["choices"] == MOMENTS
    for kind in KINDS:
        assert part_schema(f"notification_{kind}").fields["to"]["allowed"] == [kind]
    assert set(USUAL_OF["pagerduty"]) <= {*TROUBLE, *WELL}


def test_the_made_up_event_has_the_fields_of_a_real_one() -> None:
    moments, story = Occasions("Shop"), Story().begin()
    story.play("ship", "Ship").task("ship", "0", "Try", {"web1": "failed"}, msg="no").end_play("ship", "failed")
    story.tell("run_ended", {"exit": 4, "result": "task_failed"})
    real = [moment for event in story.events if (moment := moments.event(event))][-1].event
    assert real.keys() == SAMPLE.keys()
    assert real["failures"][0].keys() == SAMPLE["failures"][0].keys()
    for name, value in real.items():
        assert value is None or isinstance(value, type(SAMPLE[name])), name
