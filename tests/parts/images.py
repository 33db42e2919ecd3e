"""Container images made here, byte by byte: registries are out of reach of most test machines.

Written in the form of `docker save` (OCI image-spec's ancestor, "Docker Image Specification v1.2"), which both
`docker load` and `ctr images import` read.
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.parts.process import MissingPart

BUSYBOX = "ciflow.test/busybox:1"
PAUSE = "ciflow.test/pause:1"
PYTHON = "ciflow.test/python:1"
GUARD = "ciflow.test/guard:1"
FOREVER = ["/bin/busybox", "sleep", "1000000"]


def add_bytes(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def add_links(tar: tarfile.TarFile, links: Mapping[str, str]) -> None:
    for name, to in links.items():
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, to
        tar.addfile(entry)


def add_folders(tar: tarfile.TarFile, names: Sequence[str]) -> None:
    for name in names:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
        tar.addfile(entry)


def busybox_layer() -> bytes:
    """A root of one static busybox under all its names."""
    program = Path("/bin/busybox")
    if not Path("/usr/share/doc/busybox-static").is_dir() or not program.exists():
        raise MissingPart("busybox-static is not installed: make parts")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add_folders(tar, ["bin", "tmp", "etc", "proc", "dev", "sys", "root"])
        add_bytes(tar, "bin/busybox", program.read_bytes(), 0o755)
        add_bytes(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
        add_links(tar, {f"bin/{name}": "busybox" for name in listed if name != "busybox"})
    return layer.getvalue()


def python_layer() -> bytes:
    """An empty root that borrows the machine's /usr (mount it read-only): a real Python without a download."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add_folders(tar, ["usr", "tmp", "etc", "proc", "dev", "sys", "root", "var", "var/tmp"])
        add_bytes(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        add_links(tar, {name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")})
    return layer.getvalue()


IMPORTED = """
import __future__, asyncio, collections.abc, encodings.idna, http.client, json, pathlib, random, signal, ssl, sys, time
import http.server, typing, urllib.request
found = [getattr(one, "__file__", None) for one in list(sys.modules.values())]
print(sys.base_prefix, *(one for one in found if one and one.startswith("/")), sep="\\n")
"""


def guard_layer() -> bytes:
    """A root that needs nothing of the machine: this Python with the modules that a small network program imports."""
    python = Path(sys.executable).resolve()
    listed = subprocess.run([python, "-I", "-c", IMPORTED], capture_output=True, text=True, check=True).stdout.split()
    files = {python, *(Path(name) for name in listed[1:])}
    files |= set(
        (Path(listed[0]) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "encodings").glob("*.py")
    )
    programs = [str(file) for file in files if file == python or file.suffix == ".so"]
    linked = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout.split()
    files |= {Path(word) for word in linked if word.startswith("/") and not word.endswith(":")}
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add_folders(tar, ["tmp", "etc", "proc", "dev", "sys", "usr", "usr/bin", "usr/lib", "usr/lib64"])
        add_bytes(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
        add_links(tar, {"lib": "usr/lib", "lib64": "usr/lib64", "bin": "usr/bin"})
        for file in sorted(files):
            name = str(file).lstrip("/")
            name = f"usr/{name}" if name.startswith(("lib/", "lib64/")) else name
            add_bytes(tar, name, file.read_bytes(), 0o755 if file == python or ".so" in file.name else 0o644)
        if not str(python).endswith("/bin/python3"):
            add_links(tar, {"usr/bin/python3": str(python)})
    return layer.getvalue()


def write_images(path: Path, images: Sequence[tuple[str, bytes, Mapping[str, Any]]]) -> None:
    """Write an archive of (tag, layer, configuration such as {"Cmd": [..]})."""
    manifest: list[dict[str, Any]] = []
    with tarfile.open(path, "w") as tar:
        for tag, layer, settings in images:
            digest = hashlib.sha256(layer).hexdigest()
            config = {
                "architecture": "amd64",
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": settings,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
                "history": [{"created": "1970-01-01T00:00:00Z"}],
            }
            encoded = json.dumps(config, sort_keys=True).encode()
            name = hashlib.sha256(encoded).hexdigest()
            add_bytes(tar, f"{name}.json", encoded)
            if digest not in {part["Layers"][0].removesuffix("/layer.tar") for part in manifest}:
                add_bytes(tar, f"{digest}/layer.tar", layer)
            manifest.append({"Config": f"{name}.json", "RepoTags": [tag], "Layers": [f"{digest}/layer.tar"]})
        add_bytes(tar, "manifest.json", json.dumps(manifest).encode())


def write_test_images(path: Path) -> None:
    """What tests use: busybox, the pod's pause (busybox asleep), one with Python if the machine's /usr is mounted, and
    one with a small Python of its own."""
    layer, env = busybox_layer(), {"Env": ["PATH=/bin"]}
    busybox = (BUSYBOX, layer, {**env, "Cmd": ["sh"]})
    pause = (PAUSE, layer, {**env, "Entrypoint": FOREVER})
    python = (PYTHON, python_layer(), {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["sh"]})
    guard = (GUARD, guard_layer(), {"Env": ["PATH=/usr/bin"]})
    write_images(path, [busybox, pause, python, guard])
