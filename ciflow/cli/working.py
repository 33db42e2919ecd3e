"""Commands that do one thing: they drive a playbook of one task that ciflow ships, as `apply` would."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ciflow.cli.options import options_of
from ciflow.engine.request import Request
from ciflow.engine.start import apply
from ciflow.lang.shipped import shipped
from ciflow.model import Event
from ciflow.report.sink import Sink
from ciflow.store.store import Store


class LastOutcome:
    """A Sink that keeps what the last task came to."""

    def __init__(self) -> None:
        self.outcome: Mapping[str, Any] = {}
        self.status = ""

    def event(self, event: Event) -> None:
        if event.kind == "task_ended":
            self.outcome, self.status = event.data["outcome"], str(event.data["status"])

    def past(self, event: Event) -> None:
        """A command begins a run of its own."""

    def tick(self, now: float) -> None:
        """Time alone is no event."""

    def close(self) -> None:
        """Nothing is held."""


def work(
    playbook: str, variables: Mapping[str, Any], store: Store, sinks: Sequence[Sink] = (), subject: str = ""
) -> tuple[int, LastOutcome]:
    """Run `playbooks/<playbook>.yml` with these variables; the exit code, and what its task came to.

    `subject` is the folder it works on, by default the one one stands in: runs for others may go on meanwhile.
    """
    last = LastOutcome()
    path = str(shipped("playbooks") / f"{playbook}.yml")
    extra = (json.dumps(dict(variables)),)
    request = Request(path, extra=extra, options=options_of(traced=bool(sinks)), subject=subject or str(Path.cwd()))
    code = apply(request, store, (last, *sinks))
    return int(code), last
