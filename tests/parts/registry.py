"""A real container registry (docker-registry, "distribution") on loopback, for digests, pushes and pulls."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.parts import process


@contextlib.contextmanager
def registry(folder: Path, auth: str = "") -> Iterator[str]:
    """Serve an empty registry from `folder`; gives its `host:port`, which Docker trusts without TLS on loopback.

    `auth` is what its configuration says of who may come in (nothing: everybody may).
    """
    port = process.free_port()
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'blobs'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n" + (f"auth: {{{auth}}}\n" if auth else "")
    )
    argv = [process.find("docker-registry", "docker-registry"), "serve", str(config)]
    with process.run("registry", argv, folder, lambda: process.answers("127.0.0.1", port)):
        yield f"127.0.0.1:{port}"
