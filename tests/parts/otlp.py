"""Somebody who receives OTLP over HTTP, and reads it with OpenTelemetry's own messages."""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.parts.http import Server
from tests.parts.process import free_port

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Got:
    """A span as it arrived. Ids in hex, "" for none; times in Unix nanoseconds; `kind` and `status` by their names."""

    trace: str
    id: str
    above: str
    name: str
    kind: str
    began: int
    ended: int
    status: str
    why: str
    state: str
    attributes: dict[str, Any]
    events: tuple[tuple[str, int, dict[str, Any]], ...]
    resource: dict[str, Any]


@dataclass
class Receiver:
    """`status` and `body` are what it answers; it keeps silent until `answers` is set."""

    port: int
    status: int = 200
    body: bytes = b""
    answers: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **more: str) -> dict[str, str]:
        """What makes a program send here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, **more}

    def _bodies(self, path: str) -> list[bytes]:
        with self.lock:
            return [body for asked, _, body in self.requests if asked == path]

    @property
    def spans(self) -> list[Got]:
        """All that came, in their order."""
        found = []
        for body in self._bodies("/v1/traces"):
            message = ExportTraceServiceRequest.FromString(body)
            for by_resource in message.resource_spans:
                resource = values(by_resource.resource.attributes)
                for scope in by_resource.scope_spans:
                    found += [_got(span, resource) for span in scope.spans]
        return found

    def named(self, name: str) -> Got:
        """The only span of this name."""
        found = [one for one in self.spans if one.name == name]
        assert len(found) == 1, (name, [one.name for one in self.spans])
        return found[0]

    @property
    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Of the last that came: by name, each point's attributes and the point itself."""
        bodies = self._bodies("/v1/metrics")
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        for by_resource in ExportMetricsServiceRequest.FromString(bodies[-1]).resource_metrics if bodies else ():
            for scope in by_resource.scope_metrics:
                for metric in scope.metrics:
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    found[metric.name] = [(values(point.attributes), point) for point in points]
        return found


def values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


def _got(span: Any, resource: dict[str, Any]) -> Got:
    kind = span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
    status = span.status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_")
    events = tuple((event.name, event.time_unix_nano, values(event.attributes)) for event in span.events)
    return Got(
        span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name, kind,
        span.start_time_unix_nano, span.end_time_unix_nano, status, span.status.message, span.trace_state,
        values(span.attributes), events, resource,
    )  # fmt: skip


def patient(folder: Path) -> str:
    """A PYTHONPATH with which `ciflow` waits for its receiver for a minute: where the machine is so busy that the usual
    seconds are over before anything is sent, a test is not to fail. `folder` is the test's own."""
    (folder / "patient").mkdir()
    lines = (
        "with contextlib.suppress(ImportError):",
        "    import ciflow.report.otel",
        "    ciflow.report.otel.PATIENCE = 60.0",
    )
    (folder / "patient" / "sitecustomize.py").write_text("\n".join(("import contextlib", *lines, "")))
    return f"{folder / 'patient'}{os.pathsep}{ROOT}"


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """One on a free port of loopback, in threads of this process."""
    told = Receiver(free_port())
    told.answers.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            with told.lock:
                told.requests.append((self.path, dict(self.headers), body))
            told.answers.wait()
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = Server(("127.0.0.1", told.port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        told.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()
