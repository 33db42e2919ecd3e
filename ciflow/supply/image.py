"""A container image in one archive, as `docker save` or `skopeo copy .. docker-archive:` write it: what its files are.

Formats: Docker's image specification v1.2 (`manifest.json`), which newer archives lay over an OCI layout; layers are
tar (POSIX.1-2001), with whiteouts as the OCI image specification has them. Nothing is ever unpacked to a disk: files
are read where they lie, and names only choose among them, so a name that leads outside is refused, not followed.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any, BinaryIO, cast

from ciflow.dataclass import dataclass
from ciflow.supply import bounded
from ciflow.supply.errors import DocumentError
from ciflow.supply.fields import Fields
from ciflow.supply.model import Component, Hash, Kind
from ciflow.supply.purls import purl
from ciflow.supply.wanted import Entry, Wanted

MOST_FILES = 2_000_000
MOST_LAYERS = 500
MOST_UNPACKED = 16 * 1024**3  # bytes of one layer
MOST_GROWTH = 1100  # deflate packs at most 1032 to 1 (zlib's technical details); what grows more is damaged
MOST_GROWTH_ZSTD = 20_000  # a block of 128 KiB that repeats one byte takes 4 (RFC 8878, 3.1.1.2); a layer is no such
_MOST_WINDOW = 128 * 1024 * 1024  # bytes; `zstd --ultra -22` uses as many
_FED = 1024  # bytes, of which come at most 32 MiB
_IN_MEMORY = 64 * 1024 * 1024
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError)


@dataclass(frozen=True)
class _Place:
    """Where a file's bytes are: in which layer, from where, how many."""

    layer: int
    offset: int
    size: int
    executable: bool


class Image:
    """An opened archive. Use it in `with`, for layers that were packed are unpacked to a nameless file.

    Raises:
        DocumentError: it is no image, or damaged, or made to hurt; with layer and name.
    """

    def __init__(self, archive: BinaryIO, name: str) -> None:
        self._stack = ExitStack()
        self._layers: list[IO[bytes]] = []
        self._files: dict[str, _Place] = {}
        try:
            self._open(archive, name)
        except _DAMAGED as e:
            self._stack.close()
            raise DocumentError(f"{name}: {e}") from e
        except DocumentError:
            self._stack.close()
            raise

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def entries(self) -> list[Entry]:
        """Regular files of the whole image, as the last layer leaves them."""
        return [Entry(path, place.size, place.executable) for path, place in sorted(self._files.items())]

    def read(self, wanted: Wanted) -> bytes:
        place = self._files[wanted.path]
        layer = self._layers[place.layer]
        layer.seek(place.offset + wanted.offset)
        return layer.read(max(0, min(wanted.length, place.size - wanted.offset)))

    def _open(self, archive: BinaryIO, name: str) -> None:
        outer = self._stack.enter_context(tarfile.open(fileobj=archive, mode="r:"))  # noqa: SIM115 - the stack is one
        manifest = Fields.of({"images": _json(outer, "manifest.json")}, "").objects("images")
        if len(manifest) != 1:
            raise DocumentError(f"manifest.json: {len(manifest)} images are in one archive; one is needed")
        layers = manifest[0].texts("Layers")
        if len(layers) > MOST_LAYERS:
            raise DocumentError(f"manifest.json: {len(layers)} layers; more than {MOST_LAYERS} are not read")
        config = _content(outer, manifest[0].text("Config"), bounded.MOST_BYTES)
        self.subject = _subject(manifest[0].texts("RepoTags"), config, name)
        for number, path in enumerate(layers):
            self._layers.append(self._plain(outer, path))
            self._lay(number, path)

    def _plain(self, outer: tarfile.TarFile, path: str) -> IO[bytes]:
        """A layer as it lies in the archive, or unpacked, up to a limit."""
        member = outer.getmember(path)
        packed = outer.extractfile(member)
        if packed is None:
            raise DocumentError(f"{path}: a layer is no file")
        magic = packed.read(4)
        packed.seek(0)
        if magic == b"\x28\xb5\x2f\xfd":
            pieces, most = _zstd(packed, path), min(MOST_UNPACKED, member.size * MOST_GROWTH_ZSTD)
        elif magic[:2] == b"\x1f\x8b":
            pieces, most = _gzip(packed), min(MOST_UNPACKED, member.size * MOST_GROWTH)
        else:
            return packed
        spooled = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the stack is one
        unpacked = self._stack.enter_context(spooled)
        total = 0
        for piece in pieces:
            total += len(piece)
            if total > most:
                raise DocumentError(f"{path}: it unpacks to more than {most} bytes")
            unpacked.write(piece)
        return cast("IO[bytes]", unpacked)

    def _lay(self, number: int, path: str) -> None:
        """One layer over those below: what it hides goes first, then what it brings."""
        layer = self._layers[number]
        layer.seek(0)
        brought: dict[str, _Place | str] = {}
        with tarfile.open(fileobj=layer, mode="r:") as tar:
            for member in tar:
                name = _inside(member.name, path)
                if len(self._files) + len(brought) > MOST_FILES:
                    raise DocumentError(f"{path}: more than {MOST_FILES} files")
                folder, _, last = name.rpartition("/")
                if last == ".wh..wh..opq":
                    self._hide(folder + "/" if folder else "")
                elif last.startswith(".wh."):
                    hidden = f"{folder}/{last[4:]}" if folder else last[4:]
                    self._files.pop(hidden, None)
                    self._hide(hidden + "/")
                elif member.isreg():
                    executable = bool(member.mode & 0o111)
                    brought[name] = _Place(number, member.offset_data, member.size, executable)
                elif member.islnk():
                    brought[name] = _inside(member.linkname, path)
                elif not member.isdir():
                    self._files.pop(name, None)
        for name, place in brought.items():
            found = brought.get(place, self._files.get(place)) if isinstance(place, str) else place
            if isinstance(found, _Place):
                self._files[name] = found

    def _hide(self, prefix: str) -> None:
        for name in [name for name in self._files if name.startswith(prefix)]:
            del self._files[name]


def _gzip(packed: IO[bytes]) -> Iterator[bytes]:
    reader = gzip.GzipFile(fileobj=packed)
    return iter(lambda: reader.read(1024 * 1024), b"")


def _zstd(packed: IO[bytes], path: str) -> Iterator[bytes]:
    """Frame by frame. What is fed at once is little, so that what comes of it at once is bounded, too; and so are
    windows, of which one can ask for 3.75 TiB. The only user of zstandard, which is an extra.

    Raises:
        DocumentError: damaged, cut, or the library is missing.
    """
    try:
        import zstandard
    except ImportError as e:
        raise DocumentError(f"{path}: packed by zstd; `pip install 'ciflow[zstd]'` reads it") from e
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW)
    frame = None
    try:
        while block := packed.read(_FED):
            while block:
                frame = frame or decompressor.decompressobj()
                yield frame.decompress(block)
                block, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    except zstandard.ZstdError as e:
        raise DocumentError(f"{path}: {e}") from e
    if frame is not None:
        raise DocumentError(f"{path}: it ends within a frame of zstd")


def _inside(name: str, layer: str) -> str:
    """A name within the image: relative, without `.`; one that leads up is refused."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DocumentError(f"{layer}: {name!r} leads out of the image")
    return "/".join(parts)


def _content(outer: tarfile.TarFile, path: str, most: int) -> bytes:
    try:
        member = outer.getmember(path)
    except KeyError as e:
        raise DocumentError(f"{path} is not in the archive: is it one of `docker save`?") from e
    file = outer.extractfile(member) if member.size <= most else None
    if file is None:
        raise DocumentError(f"{path}: no file, or too large")
    return file.read()


def _json(outer: tarfile.TarFile, path: str) -> Any:
    return bounded.read_json(_content(outer, path, bounded.MOST_BYTES))


def _subject(tags: list[str], config: bytes, name: str) -> Component:
    """Named by its tag; its hash is the image's id, which is that of its settings."""
    repository, _, tag = tags[0].rpartition(":") if tags else (name, "", "")
    digest = hashlib.sha256(config).hexdigest()
    namespace, _, last = repository.rpartition("/")
    identity = purl("docker", last, tag or f"sha256:{digest}", namespace=namespace)
    platform = Fields.of(bounded.read_json(config), "")
    said = [(f"docker:{key}", value) for key in ("architecture", "os") if (value := platform.maybe(key))]
    return Component(
        ref=identity,
        kind=Kind.CONTAINER,
        name=repository,
        version=tag or f"sha256:{digest}",
        purl=identity,
        hashes=(Hash("SHA-256", digest),),
        properties=tuple(said),
    )
