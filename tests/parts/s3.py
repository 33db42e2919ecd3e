"""A real S3 server on loopback, in memory (gofakes3), with one bucket. Any key opens it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.parts import process

BUCKET = "crates"
KEYS = {"AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "anything"}


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[str]:
    """Gives its `http://host:port`."""
    port = process.free_port()
    at = ("-host", f"127.0.0.1:{port}")
    argv = [process.find("gofakes3", "s3"), *at, "-backend", "memory", "-initialbucket", BUCKET]
    with process.run("s3", argv, folder, lambda: process.answers("127.0.0.1", port)):
        yield f"http://127.0.0.1:{port}"
