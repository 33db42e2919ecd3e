"""A release and what takes it back, as whoever is on call sees them in their traces."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.service import Service, finish
from tests.parts.otlp import Got, patient, receiver

pytestmark = pytest.mark.slow
TRACE, ABOVE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def moments(span: Got, name: str, key: str) -> list[object]:
    """What an attribute of its events of this name was, each time."""
    return [attributes.get(f"ciflow.{key}") for called, _, attributes in span.events if called == f"ciflow.{name}"]


def test_a_bad_version_is_found_in_the_trace_with_the_step_and_the_gate_that_turned_it_back(
    production: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version, before = production.next(fault=0.5), production.live()
    with receiver() as heard:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", heard.url)
        monkeypatch.setenv("PYTHONPATH", patient(tmp_path))
        code, said = finish(production.apply(version, hold="60s"))
        assert code == 7 and "did not reach" not in said, said
        spans = heard.spans
    (run,) = [span for span in spans if span.kind == "SERVER"]
    (play,) = [span for span in spans if span.attributes.get("ciflow.canary.state") == "rolled_back"]
    (bad,) = [span for span in spans if span.name.startswith("canary ") and span.status == "ERROR"]
    assert (bad.above, play.above) == (play.id, run.id)
    assert (run.attributes["error.type"], bad.attributes["error.type"]) == ("rolled_back", "turned_back")
    assert bad.attributes["ciflow.canary.version"] == version and bad.attributes["ciflow.canary.candidate.bad"] > 0
    assert moments(bad, "canary.gate", "verdict")[-1] == "bad" and bad.why
    weights = moments(play, "canary.dial", "weight")
    assert bad.attributes["ciflow.canary.weight"] in weights and weights[-1] == 0.0
    assert moments(play, "canary.state", "state")[-1] == "rolled_back"
    assert production.live() == before


def test_who_rolled_back_by_hand_is_in_the_trace_that_their_alert_began(
    production: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version, bake="0s"))
    assert code == 0, said
    with receiver() as heard:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", heard.url)
        monkeypatch.setenv("PYTHONPATH", patient(tmp_path))
        monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{ABOVE}-01")
        code, said = production.ciflow("rollback", "shield", "--reason", "pager")
        assert code == 0 and "warning" not in said, said
        span = heard.named("ROLLBACK shield")
        assert len(heard.spans) == 1 and (span.trace, span.above, span.status) == (TRACE, ABOVE, "UNSET")
        assert moments(span, "rollback", "reason") == ["pager"] and moments(span, "rollback", "from") == [version]
        assert span.attributes["user.name"]
        heard.status = 400
        code, said = production.ciflow("rollback", "shield")
        assert code == 0 and "nothing to do" in said and "1 of 1 spans did not reach" in said, said
    assert production.live() == before
