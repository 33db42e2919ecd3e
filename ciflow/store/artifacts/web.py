"""HTTP to a store of artifacts: whole answers, streams that can be cut, and what is tried again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ciflow.dataclass import dataclass
from ciflow.diagnostics import ArtifactError
from ciflow.model import EMPTY

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector, Request

TRIES = 5  # without any progress between them
PATIENCE = 60.0  # seconds without a byte
CHUNK = 256 * 1024
MOST = 64 * 1024 * 1024  # bytes of an answer that is held whole: manifests, lists, tokens
_LONGEST_WAIT = 30.0  # seconds that a server may ask for
_BUSY = (408, 429, 500, 502, 503, 504)
_FOLLOW = ("range", "accept")  # what may go where a redirect leads; credentials may not


class Cut(Exception):
    """The connection broke, or the server was busy: what was under way may be taken up again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one request. Names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def pause(tried: int, asked: str = "") -> None:
    """Before the next try: as long as the server asks for, else longer each time."""
    wait = float(asked) if asked.isdecimal() else 0.1 * 3**tried
    time.sleep(min(wait, _LONGEST_WAIT))


class Web:
    """Asks one store, which is called `where` when it doesn't answer. Proxies and authorities are those of the
    environment."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._opener: OpenerDirector | None = None

    def ask(self, method: str, url: str, headers: Mapping[str, str] = EMPTY, body: bytes | None = None) -> Answer:
        """A request that may be made twice. ArtifactError when nobody answers."""
        for tried in range(TRIES):
            try:
                answer = self.once(method, url, headers, body)
            except Cut as cut:
                why, asked = str(cut), ""
            else:
                if answer.status not in _BUSY:
                    return answer
                why, asked = f"it answers {answer.status}", answer.headers.get("retry-after", "")
            if tried < TRIES - 1:
                pause(tried, asked)
        raise self.lost(why)

    def once(self, method: str, url: str, headers: Mapping[str, str] = EMPTY, body: bytes | None = None) -> Answer:
        """A request that is made once. Raises Cut when no whole answer comes."""
        with self._open(_request(method, url, headers, body)) as response:
            content = bytearray()
            for piece in _pieces(response):
                content += piece
                if len(content) > MOST:
                    raise self.lost(f"its answer has more than {MOST >> 20} MiB")
            return Answer(response.status, _headers(response), bytes(content))

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """The answer to a GET, and its body piece by piece; the pieces raise Cut when they end before the body."""
        with self._open(_request("GET", url, headers, None)) as response:
            yield Answer(response.status, _headers(response)), _pieces(response)

    def lost(self, why: str) -> ArtifactError:
        return ArtifactError(f"{self._where} can't be reached: {why}", help="the same command goes on where it stopped")

    @contextmanager
    def _open(self, request: Request) -> Iterator[HTTPResponse]:
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import build_opener

        self._opener = self._opener or build_opener()
        try:
            try:
                response = self._opener.open(request, timeout=PATIENCE)
            except HTTPError as answer:
                response = answer
            with response:
                yield response
        except URLError as error:
            raise Cut(str(error.reason)) from error
        except (OSError, HTTPException) as error:
            raise Cut(str(error) or type(error).__name__) from error


def _request(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Request:
    from urllib.request import Request

    request = Request(url, data=body, method=method)
    request.add_unredirected_header("User-Agent", "ciflow")
    if body is not None and "content-type" not in headers:
        request.add_unredirected_header("Content-Type", "application/octet-stream")
    for name, value in headers.items():
        (request.add_header if name in _FOLLOW else request.add_unredirected_header)(name, value)
    return request


def _headers(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _pieces(response: HTTPResponse) -> Iterator[bytes]:
    """http.client is silent about a body that ends too early."""
    while piece := response.read(CHUNK):
        yield piece
    if response.length:
        raise Cut(f"{response.length} bytes of the answer did not come")
