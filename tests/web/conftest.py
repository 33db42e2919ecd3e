"""One server for the tests that leave its journal as it was, and a journal as a run leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ciflow.model import Event
from tests.e2e.service import Service, service
from tests.report.story import failure, release
from tests.web.server import Server, serving, written

PAYLOAD = '<script>alert(1)</script><img src=x onerror="alert(2)">'


def hostile(run: str) -> list[Event]:
    """A run whose every name and output tries to be markup."""
    it = PAYLOAD
    data = {"name": it, "module": it, "hosts_total": 1}
    printed = {"stdout": it + "\x1b]0;title\x07", "stderr": "a\udcffb"}
    ended = {**data, "status": "failed", "duration": 1.0, "msg": it, "outcome": printed, "explanation": it}
    canary = {"service": it, "version": it, "slot": "b", "live": "a", "token": 1, "steps": [1]}
    gate = {"name": it, "verdict": "bad", "evidence": float("inf"), "threshold": 100.0, "sentence": it}
    told = [
        ("run_started", {"playbook": PAYLOAD, "who": PAYLOAD, "request": {}}),
        ("play_started", {"name": PAYLOAD, "hosts": 1, "cell": {}}),
        ("task_started", data),
        ("output", {"stream": "stdout", "text": PAYLOAD}),
        ("task_ended", ended),
        ("canary_started", canary),
        ("dial", {"share": 100, "slot": "b", "weight": 100, "token": 1}),
        ("gate", gate),
        ("approval_wanted", {"prompt": PAYLOAD, "until": 0, "approvers": [PAYLOAD]}),
        ("error", {"message": PAYLOAD, "help": PAYLOAD}),
        ("artifact", {"name": PAYLOAD, "sha256": PAYLOAD, "size": 1}),
        ("play_ended", {"result": "failed", "name": PAYLOAD, "duration": 1.0, "reason": PAYLOAD}),
        ("run_ended", {"exit": 4, "result": PAYLOAD, "summary": {"next": PAYLOAD}}),
    ]  # fmt: skip
    of_task = ("task_started", "output", "task_ended")
    return [
        Event(
            kind=kind,
            run=run,
            play="p",
            host="<b>h</b>" if kind in of_task else "",
            task="0" if kind in of_task else "",
            data=data,
        )
        for kind, data in told
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Three runs: a release that went well (R-12), a play that failed (R-13), one that is hostile (R-14)."""
    folder = tmp_path_factory.mktemp("page")
    failed = [replace(event, run="R-13") for event in failure().events]
    written(folder / "state", [*release().events, *failed, *hostile("R-14")])
    with serving(folder) as found:
        yield found


@pytest.fixture(scope="package")
def production() -> Iterator[Service]:
    """A service in production, shared by the files of this folder: each test leaves all traffic on one version."""
    with service("envoy") as found:
        yield found


@pytest.fixture(scope="package")
def released(production: Service) -> Iterator[Server]:
    """The page of its journal."""
    with serving(production.home / "serve", state=production.state, env={"HOME": str(production.home)}) as found:
        yield found
