"""A command on a farm that speaks the Remote Execution API (BuildBarn, BuildGrid, NativeLink, buildbox-casd).

Inputs go into its content-addressed storage, as far as they are not there; the action is executed, or its result taken
from the farm's cache; outputs come back, each verified by its digest.
https://github.com/bazelbuild/remote-apis/blob/main/build/bazel/remote/execution/v2/remote_execution.proto
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Lost, Refused, TargetError, Unreachable
from ciflow.model import Reply
from ciflow.targets.protobuf import Fields, message
from ciflow.targets.remote_tree import Digest, Inputs, digest_of, inputs_of, place_for

_API = "/build.bazel.remote.execution.v2"
_STREAM = "/google.bytestream.ByteStream"
_BATCH = 3 * 1024 * 1024  # bytes in one message: servers take 4 MiB
_PIECE = 1024 * 1024
_CALL = 60.0  # seconds for a call other than Execute
# Milliseconds of silence after which a farm is asked for a sign of life, and that it has for one. Without, a machine
# that is cut off holds a build up for ever; servers of gRPC take more than one question in five minutes for abuse.
_SILENCE, _SIGN_OF_LIFE = 310_000, 20_000
_TRIES = 5  # times that a stream which broke off is taken up again
_GONE = "EHOSTUNREACH"  # what `errno` says when the farm can't be had


def ask_remote(request: Mapping[str, Any], stop: threading.Event) -> Reply:
    """One action. `endpoint` grpc://HOST:PORT or grpcs://, `instance`, `token`, `ca`; `argv`, `env`, `folder`, `inputs`
    (patterns below it), `outputs` (paths below it), `dest` (where they go), `platform`, `timeout`, `fresh` (not from
    the cache). Or `look`: only whether it executes.

    Data {cached, outputs, action digest}. Where the farm can't be had, `errno` is EHOSTUNREACH and nothing has changed.
    """
    try:
        with _Farm(request) as farm:
            return farm.looked() if request.get("look") else _executed(farm, request, stop)
    except (Lost, Unreachable) as error:
        return Reply(ok=False, errno=_GONE, error=error.message)


def _executed(farm: _Farm, request: Mapping[str, Any], stop: threading.Event) -> Reply:
    inputs = inputs_of(Path(request["folder"]), request["inputs"])
    pairs = [message((1, name), (2, value)) for name, value in sorted(request.get("platform", {}).items())]
    platform = message((1, pairs))
    env = [message((1, name), (2, value)) for name, value in sorted(request.get("env", {}).items())]
    command = message((1, list(request["argv"])), (2, env), (5, platform), (7, sorted(request["outputs"])))
    timeout = message((1, int(request.get("timeout") or 0)))
    root = inputs.root
    action = message((1, inputs.add(command).encoded), (2, root.encoded), (6, timeout), (10, platform))
    digest = inputs.add(action)
    farm.upload(inputs)
    found, cached = farm.execute(digest, stop, fresh=bool(request.get("fresh")))
    if cached and found.number(4):  # what failed may have failed by chance: servers are not to keep it, and some do
        found, cached = farm.execute(digest, stop, fresh=True)
    outputs = _outputs(farm, found, Path(request["dest"]), list(request["outputs"]))
    rc = _signed(found.number(4))
    return Reply(
        ok=rc == 0,
        rc=rc,
        stdout=farm.said(found, 5, 6),
        stderr=farm.said(found, 7, 8),
        changed=bool(outputs) or not cached,
        data={"cached": cached, "outputs": outputs, "action": digest.hash},
    )


def _signed(number: int) -> int:
    return number - 2**32 if 2**31 <= number < 2**32 else number


def _outputs(farm: _Farm, result: Fields, dest: Path, wanted: list[str]) -> list[str]:
    """Files and folders of an ActionResult, in their place below `dest`. Nothing else than was asked for is taken."""
    files = [(one.text(1), one) for one in result.each(2)]
    for folder in result.each(3):
        tree = Fields(farm.read(Digest.of(folder.below(3))))
        children = {digest_of(one): Fields(one) for one in tree.contents(2)}
        files += list(_in_tree(folder.text(1), tree.below(1), children))
    links = [one.text(1) for number in (10, 11, 12) for one in result.each(number)]
    if links:
        raise TargetError(f"an output is a link, which is not taken: {links[0]}")
    written = []
    for path, one in files:
        place = place_for(dest, path, wanted)
        content = one.content(5) or farm.read(Digest.of(one.below(2)))
        if digest_of(content) != Digest.of(one.below(2)):
            raise TargetError(f"the output {path} is not what its digest says")
        place.write(content, executable=bool(one.number(4)))
        written.append(path)
    return sorted(written)


def _in_tree(path: str, folder: Fields, children: Mapping[Digest, Fields]) -> Iterator[tuple[str, Fields]]:
    if folder.contents(3):
        raise TargetError(f"an output below {path} is a link, which is not taken")
    for one in folder.each(1):
        yield f"{path}/{one.text(1)}", one
    for one in folder.each(2):
        below = children.get(Digest.of(one.below(2)))
        if below is None:
            raise TargetError(f"the output {path} lacks a folder that it names")
        yield from _in_tree(f"{path}/{one.text(1)}", below, children)


@dataclass(slots=True)
class _Farm:
    """A channel to one instance. gRPC's errors become ours here."""

    request: Mapping[str, Any]
    _channel: Any = field(default=None)

    def __enter__(self) -> _Farm:
        grpc = _library()
        address = urlsplit(str(self.request["endpoint"]))
        if address.scheme not in ("grpc", "grpcs") or not address.hostname or address.path.strip("/"):
            raise Refused(f"no farm is at {self.request['endpoint']}", help="grpc://HOST:PORT, or grpcs:// for TLS")
        options = (("grpc.keepalive_time_ms", _SILENCE), ("grpc.keepalive_timeout_ms", _SIGN_OF_LIFE))
        if address.scheme == "grpc":
            self._channel = grpc.insecure_channel(address.netloc, options)
        else:
            ca = Path(self.request["ca"]).read_bytes() if self.request.get("ca") else None
            self._channel = grpc.secure_channel(address.netloc, grpc.ssl_channel_credentials(ca), options)
        return self

    def __exit__(self, *_of: object) -> None:
        self._channel.close()

    # --- what it does --------------------------------------------------------------------------------------------

    def looked(self) -> Reply:
        told = self._call(f"{_API}.Capabilities/GetCapabilities", message((1, self._instance)))
        return Reply(data={"executes": bool(told.below(2).number(2))})

    def upload(self, inputs: Inputs) -> None:
        """What it hasn't got: small things together, large ones as streams."""
        contents = inputs.contents
        digests = [digest.encoded for digest in contents]
        told = self._call(
            f"{_API}.ContentAddressableStorage/FindMissingBlobs", message((1, self._instance), (2, digests))
        )
        batch: list[bytes] = []
        size = 0
        for digest in map(Digest.of, told.each(2)):
            source = contents.get(digest)
            if source is None:
                raise TargetError("the farm asks for content that was never offered")
            if digest.size > _BATCH:
                self._stream(digest, source)
                continue
            if size + digest.size > _BATCH:
                self._send(batch)
                batch, size = [], 0
            batch.append(message((1, digest.encoded), (2, source())))
            size += digest.size
        self._send(batch)

    def _send(self, batch: list[bytes]) -> None:
        if not batch:
            return
        told = self._call(
            f"{_API}.ContentAddressableStorage/BatchUpdateBlobs", message((1, self._instance), (2, batch))
        )
        for one in told.each(1):
            if one.below(2).number(1):
                raise TargetError(f"the farm takes no input: {one.below(2).text(2)}")

    def _stream(self, digest: Digest, source: Callable[[], bytes]) -> None:
        name = self._named(f"uploads/{uuid.uuid4()}/blobs/{digest.hash}/{digest.size}")
        content = source()

        def pieces() -> Iterator[bytes]:
            for at in range(0, len(content), _PIECE):
                piece = content[at : at + _PIECE]
                yield message((1, name), (2, at), (3, at + len(piece) == len(content)), (10, piece))

        call = self._channel.stream_unary(f"{_STREAM}/Write", _same, Fields)
        told = self._guarded(lambda: call(pieces(), timeout=self._patience(digest.size), metadata=self._metadata))
        if told.number(1) not in (digest.size, -1):
            raise Lost(f"the farm has {told.number(1)} of {digest.size} bytes of an input")

    def read(self, digest: Digest) -> bytes:
        """Content by its digest, verified."""
        if not digest.size:
            return b""
        name = self._named(f"blobs/{digest.hash}/{digest.size}")
        call = self._channel.unary_stream(f"{_STREAM}/Read", _same, Fields)
        content: bytes = self._guarded(
            lambda: b"".join(
                one.content(10)
                for one in call(message((1, name)), timeout=self._patience(digest.size), metadata=self._metadata)
            )
        )
        if digest_of(content) != digest:
            raise TargetError(f"the farm gives other bytes for {digest.hash[:12]}")
        return content

    def said(self, result: Fields, raw: int, digest: int) -> bytes:
        """Standard output or error of an action."""
        return result.content(raw) or (self.read(Digest.of(result.below(digest))) if result.content(digest) else b"")

    def execute(self, action: Digest, stop: threading.Event, *, fresh: bool) -> tuple[Fields, bool]:
        """(ActionResult, whether it comes from the farm's cache). A stream that breaks off is taken up again."""
        begin = message((1, self._instance), (3, fresh), (6, action.encoded))
        method, asked, name = f"{_API}.Execution/Execute", begin, ""
        for tried in range(_TRIES):
            try:
                for operation in self._operations(method, asked, stop):
                    name = operation.text(1) or name
                    if operation.number(3):
                        return _result_of(operation)
                raise Lost("the farm ended without a result")
            except Lost:
                if tried == _TRIES - 1 or stop.wait(0.2 * 2**tried):
                    raise
            method, asked = (f"{_API}.Execution/WaitExecution", message((1, name))) if name else (method, begin)
        raise Lost("the farm ended without a result")

    def _operations(self, method: str, asked: bytes, stop: threading.Event) -> Iterator[Fields]:
        stream = self._channel.unary_stream(method, _same, Fields)(asked, metadata=self._metadata)
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.2):
                if stop.is_set():
                    stream.cancel()
                    return

        threading.Thread(target=watch, daemon=True).start()
        try:
            while (one := self._guarded(lambda: next(stream, None))) is not None:
                yield one
        finally:
            ended.set()

    # --- private -------------------------------------------------------------------------------------------------

    @property
    def _instance(self) -> str:
        return str(self.request.get("instance") or "")

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self.request.get("token")
        return (("authorization", f"Bearer {token}"),) if token else ()

    def _named(self, resource: str) -> str:
        return f"{self._instance}/{resource}" if self._instance else resource

    def _patience(self, size: int) -> float:
        return _CALL + size / 100_000  # a slow line's bytes in a second

    def _call(self, method: str, asked: bytes) -> Fields:
        call = self._channel.unary_unary(method, _same, Fields)
        return self._guarded(lambda: call(asked, timeout=_CALL, metadata=self._metadata))  # type: ignore[no-any-return]

    def _guarded(self, act: Callable[[], Any]) -> Any:
        grpc = _library()
        try:
            return act()
        except grpc.RpcError as error:
            code, why = error.code(), error.details() or ""
            known = grpc.StatusCode
            text = f"the farm {self.request['endpoint']} says {code.name}: {why}"
            if code in (known.UNAVAILABLE, known.DEADLINE_EXCEEDED, known.CANCELLED, known.ABORTED, known.INTERNAL):
                raise Lost(text) from error
            raise TargetError(text) from error


def _result_of(operation: Fields) -> tuple[Fields, bool]:
    """Of an operation that is done: its ExecuteResponse, or why it has none."""
    if operation.content(4):
        raise TargetError(f"the farm can't execute it: {operation.below(4).text(2)}")
    response = operation.below(5).below(2)
    status = response.below(3)
    if status.number(1) and not response.content(1):
        raise TargetError(f"the farm can't execute it: {status.text(2) or f'code {status.number(1)}'}")
    if status.number(1) == 4:  # DEADLINE_EXCEEDED
        raise TargetError("the action took longer than its timeout")
    return response.below(1), bool(response.number(2))


def _same(content: bytes) -> bytes:
    """Messages are encoded before they are handed to gRPC."""
    return content


def _library() -> Any:
    try:
        import grpc
    except ImportError as error:
        raise Refused("Remote Execution needs grpcio", help="pip install 'ciflow[remote]'") from error
    return grpc
