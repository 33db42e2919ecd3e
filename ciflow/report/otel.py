"""A run as a trace and as metrics, sent by OTLP over HTTP: the one file that knows OpenTelemetry's SDK.

The SDK reads its settings from the environment (OTEL_*), samples, batches and sends, all of it in threads of its own.
A receiver that hangs, refuses or is gone costs a run nothing but PATIENCE at its end, and one sentence (`lost`).
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracer,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ciflow import __version__
from ciflow.diagnostics import Refused
from ciflow.model import Event
from ciflow.report.moments import text
from ciflow.report.spans import Span, Spans
from ciflow.report.trace import Origin

PATIENCE = 3.0  # seconds that the end of a run waits for whoever receives
QUEUE = 16_384  # spans that wait to be sent, unless OTEL_BSP_MAX_QUEUE_SIZE says: ten thousand hosts may end at once
EDGES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)  # of the histogram of durations, in seconds
_SYSTEM = re.compile(r"\[Errno -?\d+\] ([^\"')]+)")  # what is behind a long chain of errors
SCHEMA = "https://opentelemetry.io/schemas/1.43.0"


def origin(environ: Mapping[str, str]) -> Origin:
    """The trace that a run begun here is part of: whoever started it says so (TRACEPARENT), else one of its own.
    Whether it is sampled is decided here, for all processes that will work on the run (OTEL_TRACES_SAMPLER)."""
    carrier = {"traceparent": environ.get("TRACEPARENT", ""), "tracestate": environ.get("TRACESTATE", "")}
    context = TraceContextTextMapPropagator().extract(carrier)
    above = get_current_span(context).get_span_context()
    trace = above.trace_id if above.is_valid else RandomIdGenerator().generate_trace_id()
    with _settings():
        sampler = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False).sampler
    decided = sampler.should_sample(context, trace, "ciflow", SpanKind.SERVER)
    flags = TraceFlags.SAMPLED if decided.decision is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT
    return Origin(trace, above.span_id, flags, above.trace_state.to_header())


class Telemetry:
    """A Sink that sends a run's spans as they end, and its metrics now and then and at the end. Raises Refused where
    the SDK can't do with its settings."""

    def __init__(self, *, traces: bool, metrics: bool) -> None:
        self._spans = Spans()
        self._complaints = _Complaints()
        with _settings():
            self._sender = _Sender() if traces else None
            self._meters = _Meters() if metrics else None
        self.lost = ""
        self._over = 0.0  # when the run ended, by the monotonic clock

    def event(self, event: Event) -> None:
        if event.kind == "run_ended":
            self._over = time.monotonic()
        ended = self._heard(event)
        for span in ended:
            if self._sender is not None:
                self._sender.send(span)
        if self._meters is not None:
            self._meters.event(event, self._spans, ended)

    def past(self, event: Event) -> None:
        """Whoever ended these spans has sent them; the last of them may have died with it."""
        self._heard(event)

    def tick(self, now: float) -> None:
        """Time alone ends no span."""

    def flush(self) -> bool:
        """Wait until the spans so far are sent; whether all of them have arrived."""
        return self._sender is None or self._sender.flush()

    def close(self) -> None:
        """What is left to be sent goes out; PATIENCE after the run's end nobody waits for it any more, nor longer where
        somebody else who is told of the run has been waited for."""
        senders = [one for one in (self._sender, self._meters) if one is not None]
        closing = [threading.Thread(target=one.close, daemon=True) for one in senders]
        for thread in closing:
            thread.start()
        deadline = (self._over or time.monotonic()) + PATIENCE
        try:
            for thread in closing:
                thread.join(max(0.0, deadline - time.monotonic()))
        except KeyboardInterrupt:  # somebody doesn't wait even that long, which is no reason for another exit code
            self._complaints.last = "interrupted"
        self._complaints.detach()
        why = self._complaints.last or f"no answer within {PATIENCE:g} s"
        self.lost = next((f"{lost}: {why}" for lost in (one.lost for one in senders) if lost), "")

    def _heard(self, event: Event) -> list[Span]:
        ended = self._spans.event(event)
        if event.kind == "run_started":
            if self._sender is not None:
                self._sender.begin(self._spans)
            if self._spans.check:
                self._meters = None  # a rehearsal would count as a run
        return ended


class _Sender:
    """Spans on their way. The SDK makes each at the moment it has ended, with the ids and times that the fold gave."""

    def __init__(self) -> None:
        self._origin = Origin(0)
        self._state = TraceState()
        self._ids = _Ids()
        self._limits = SpanLimits()
        self._exporter = _SpanExporter()
        size = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else QUEUE
        self._batches = BatchSpanProcessor(self._exporter, max_queue_size=size)
        self._provider: TracerProvider | None = None
        self._tracer: Tracer = NoOpTracer()
        self._given = 0

    def begin(self, spans: Spans) -> None:
        """Whose spans they are is known."""
        self._origin = spans.origin
        self._state = TraceState.from_header([self._origin.state] if self._origin.state else [])
        self._provider = TracerProvider(
            resource=_resource(spans.pipeline_attributes), id_generator=self._ids, shutdown_on_exit=False,
            span_limits=self._limits,
        )  # fmt: skip
        self._provider.add_span_processor(self._batches)
        self._tracer = self._provider.get_tracer("ciflow", __version__, schema_url=SCHEMA)

    def send(self, span: Span) -> None:
        origin = self._origin
        self._ids.trace, self._ids.span = origin.trace, span.id
        remote = span.above == origin.above
        above = SpanContext(origin.trace, span.above, remote, TraceFlags(origin.flags), self._state)
        made = self._tracer.start_span(
            span.name, set_span_in_context(NonRecordingSpan(above)) if span.above else None,
            SpanKind.SERVER if span.kind == "run" else SpanKind.INTERNAL, span.attributes,
            start_time=_nanoseconds(span.began),
        )  # fmt: skip
        for moment in span.moments:
            made.add_event(moment.name, moment.attributes, _nanoseconds(moment.at))
        if span.failed:
            made.set_status(StatusCode.ERROR, span.why)
        self._given += made.is_recording()  # a sampler may have passed it by
        made.end(_nanoseconds(span.ended))

    def flush(self) -> bool:
        if self._provider is not None:
            self._provider.force_flush()
        return self._exporter.sent == self._given

    def close(self) -> None:
        if self._provider is not None:
            self._provider.shutdown()

    @property
    def lost(self) -> str:
        lost = self._given - self._exporter.sent
        return f"{lost} of {self._given} spans did not reach {receiver('TRACES')}" if lost else ""


class _Meters:
    """The metrics of the conventions: https://opentelemetry.io/docs/specs/semconv/cicd/cicd-metrics/."""

    def __init__(self) -> None:
        self._exporter = _MetricExporter()
        reader = PeriodicExportingMetricReader(self._exporter)
        self._provider = MeterProvider([reader], _resource({}), shutdown_on_exit=False)
        meter = self._provider.get_meter("ciflow", __version__, schema_url=SCHEMA)
        self._duration = meter.create_histogram(
            "cicd.pipeline.run.duration", "s", "Duration of a pipeline run.", explicit_bucket_boundaries_advisory=EDGES
        )
        self._active = meter.create_up_down_counter("cicd.pipeline.run.active", "{run}", "Pipeline runs under way.")
        self._errors = meter.create_counter("cicd.pipeline.run.errors", "{error}", "Errors in pipeline runs.")
        self._faults = meter.create_counter("cicd.system.errors", "{error}", "Errors of the system that runs them.")
        self._workers = meter.create_up_down_counter("cicd.worker.count", "{count}", "Hosts by state.")
        self._busy = 0
        self._offline: set[str] = set()

    def event(self, event: Event, spans: Spans, ended: Sequence[Span]) -> None:
        run = {"cicd.pipeline.name": spans.pipeline, "cicd.pipeline.run.state": "executing"}
        if event.kind in ("run_started", "run_resumed"):
            self._active.add(1, run)
        if event.kind == "run_ended":
            self._active.add(-1, run)
        if event.kind in ("run_resumed", "play_started", "play_ended", "run_ended") and spans.busy != self._busy:
            self._workers.add(spans.busy - self._busy, {"cicd.worker.state": "busy"})
            self._busy = spans.busy
        for span in ended:
            self._ended(span, run)

    def _ended(self, span: Span, run: Mapping[str, str]) -> None:
        error = {key: value for key, value in span.attributes.items() if key == "error.type"}
        if span.kind == "run" and span.result != "paused":
            self._duration.record(span.ended - span.began, {**run, "cicd.pipeline.result": span.result, **error})
        if span.result == "error":
            component = "controller" if span.kind == "run" else "agent"
            self._faults.add(1, {"cicd.system.component": component, **error})
        elif span.kind == "task" and error:
            self._errors.add(1, {"cicd.pipeline.name": run["cicd.pipeline.name"], **error})
        host = str(span.attributes.get("cicd.worker.id", ""))
        if error.get("error.type") == "unreachable" and host and host not in self._offline:
            self._offline.add(host)
            self._workers.add(1, {"cicd.worker.state": "offline"})

    def close(self) -> None:
        self._provider.shutdown()

    @property
    def lost(self) -> str:
        return "" if self._exporter.reached else f"metrics did not reach {receiver('METRICS')}"


class _Ids(IdGenerator):
    """Gives what it was told: ids come from the run (report/trace.py)."""

    def __init__(self) -> None:
        self.trace = 0
        self.span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _SpanExporter(OTLPSpanExporter):
    """Counts what has arrived."""

    sent = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        self.sent += len(spans) if result is SpanExportResult.SUCCESS else 0
        return result


class _MetricExporter(OTLPMetricExporter):
    """Knows whether the last ones have arrived: each says all that those before have said."""

    reached = False

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: object
    ) -> MetricExportResult:
        self.reached = False
        result = super().export(metrics_data, timeout_millis, **kwargs)
        self.reached = result is MetricExportResult.SUCCESS
        return result


class _Complaints(logging.Handler):
    """Keeps what the SDK complains of last, which it would print in the midst of a run's lines."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._logger = logging.getLogger("opentelemetry")
        self._logger.addHandler(self)
        self._propagated, self._logger.propagate = self._logger.propagate, False

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        said = f"{record.getMessage()}{f' ({error})' if error else ''}"
        system = _SYSTEM.search(said)
        self.last = text(system[1] if system else said, 200)

    def detach(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated


@contextmanager
def _settings() -> Iterator[None]:
    """What the SDK says of variables that it can't read."""
    try:
        yield
    except (ValueError, OSError) as e:
        raise Refused(f"OpenTelemetry can't do with its settings: {e}") from e


def receiver(signal: str) -> str:
    """Where TRACES or METRICS go, without what may be secret in an address."""
    told = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return text(re.sub("//[^/@]*@", "//", told or "http://localhost:4318"), 200)


def _resource(more: Mapping[str, str | int | float | bool]) -> Resource:
    """Who sends: as OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say, else this program."""
    said = OTELResourceDetector().detect().attributes
    ours = {"service.name": "ciflow", "service.version": __version__, **more}
    return Resource.create({key: value for key, value in ours.items() if key not in said})


def _nanoseconds(at: float) -> int:
    return int(at * 1e9)
