"""A real Envoy, from its wheel, with the bootstrap that a test gives it."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.parts import process
from tests.parts.http import get


@contextlib.contextmanager
def envoy(folder: Path, bootstrap: Mapping[str, Any], admin_port: int) -> Iterator[process.Running]:
    """Start Envoy with `bootstrap`, whose admin listener is on 127.0.0.1:`admin_port`, and wait until it is live."""
    path = folder / "envoy.json"
    path.write_text(json.dumps(bootstrap))
    argv = [process.find("envoy", "envoy"), "-c", str(path), "--use-dynamic-base-id", "--concurrency", "1"]
    argv += ["--log-level", "warning", "--drain-time-s", "1", "--parent-shutdown-time-s", "2"]
    ready = f"http://127.0.0.1:{admin_port}/ready"
    with process.run("envoy", argv, folder, lambda: get(ready).status == 200) as running:
        yield running
