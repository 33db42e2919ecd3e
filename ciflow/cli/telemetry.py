"""Whether runs are sent to somebody by OpenTelemetry: its own variables say so (docs/opentelemetry.md).

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/. Where they say nothing, none of its
libraries is loaded.
"""

from __future__ import annotations

import os
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

from ciflow.diagnostics import CiflowError, Refused

if TYPE_CHECKING:
    from ciflow.report.otel import Telemetry
    from ciflow.store.place import Place

PROTOCOL = "http/protobuf"
BATCH = 500  # events of the past whose spans are sent before more are read
NOWHERE = "nothing says where traces are to be sent"
MISSING = "OpenTelemetry is not installed: pip install 'ciflow[otel]'"


def wanted(signal: str) -> bool:
    """Whether TRACES or METRICS are to be sent. Raises Refused where it is meant in a way that nobody here knows."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = [part.strip() for part in os.environ.get(f"OTEL_{signal}_EXPORTER", "").split(",") if part.strip()]
    addressed = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT") for part in ("", f"{signal}_"))
    if not addressed and "otlp" not in exporters:
        return False
    if exporters and exporters != ["otlp"]:
        if exporters == ["none"]:
            return False
        raise Refused(f"OTEL_{signal}_EXPORTER can't be `{','.join(exporters)}`: it is otlp or none")
    own, usual = (os.environ.get(f"OTEL_EXPORTER_OTLP_{part}PROTOCOL", "") for part in (f"{signal}_", ""))
    if (own or usual or PROTOCOL) != PROTOCOL:
        raise Refused(f"OTLP is spoken as {PROTOCOL} here, not as {own or usual} (OTEL_EXPORTER_OTLP_PROTOCOL)")
    return True


def telemetry(*, metrics: bool = True) -> Telemetry | None:
    """The sink that sends a run; None where nobody wants it. Raises Refused where it can't be had."""
    traces, metrics = wanted("TRACES"), metrics and wanted("METRICS")
    if not traces and not metrics:
        return None
    sender: Telemetry = _sdk().Telemetry(traces=traces, metrics=metrics)
    return sender


def traced_as() -> tuple[str, str]:
    """The trace that a run begun here is part of, as `Options` keeps it; ("", "") where it is part of none."""
    try:
        traces, _ = wanted("TRACES"), wanted("METRICS")  # where either is refused nothing is sent
        if not traces:
            return "", ""
        found = _sdk().origin(os.environ)
    except Refused:
        return "", ""  # said when the sinks are made
    from ciflow.report.trace import traceparent

    return traceparent(found.trace, found.above, found.flags), found.state


def send_past(state: Place | None, run: str) -> None:
    """The trace of a run of the journal, whole, under the ids that it had. Raises NoSuch, and CiflowError where it did
    not arrive."""
    from ciflow.cli.options import journal_of

    sender = telemetry(metrics=False)
    if sender is None:
        raise Refused(NOWHERE, help="OTEL_EXPORTER_OTLP_ENDPOINT is the address of whoever takes traces")
    _send(sender, journal_of(state), run)
    if sender.lost:
        raise CiflowError(sender.lost)


def send_ended(place: Place, run: str) -> str:
    """A run that went without sinks, for it had no time for them. Why it was not sent, "" where it was or nobody wants
    it."""
    try:
        sender = telemetry()
        if sender is None:
            return ""
        _send(sender, place, run, *(traced_as() if os.environ.get("TRACEPARENT") else ()))
    except CiflowError as error:
        return f"nothing is sent: {error.message}"
    return sender.lost


def _send(sender: Telemetry, place: Place, run: str, trace: str = "", tracestate: str = "") -> None:
    """All events of a run, which is part of `trace` where its first one doesn't say of which."""
    from ciflow.report.spans import KINDS
    from ciflow.store.folds import find_run
    from ciflow.store.store import Store

    with Store.open(place, read_only=True) as store:
        for number, event in enumerate(store.events(run=find_run(store, run).run, kinds=KINDS)):
            if event.kind == "run_started" and trace:
                event = replace(event, data={"trace": {"parent": trace, "state": tracestate}, **event.data})
            sender.event(event)
            if number % BATCH == BATCH - 1 and not sender.flush():
                break  # whoever doesn't take these takes no others
    sender.close()


def _sdk() -> ModuleType:
    """What knows OpenTelemetry's SDK, which reads some of its settings already when it is imported."""
    try:
        from ciflow.report import otel
    except ModuleNotFoundError as e:
        if not (e.name or "").startswith(("opentelemetry", "google", "requests")):
            raise
        raise Refused(MISSING) from e
    except ValueError as e:
        raise Refused(f"OpenTelemetry can't do with its settings: {e}") from e
    return otel


def page() -> str:
    """The address of the CI job that this process is part of; "" where it is none, or its CI doesn't say."""
    env = os.environ
    if env.get("GITHUB_RUN_ID"):
        project = f"{env.get('GITHUB_SERVER_URL', 'https://github.com')}/{env.get('GITHUB_REPOSITORY', '')}"
        return f"{project}/actions/runs/{env['GITHUB_RUN_ID']}"
    return env.get("CI_JOB_URL") or env.get("BUILD_URL") or ""
