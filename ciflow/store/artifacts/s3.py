"""Artifacts in a bucket of S3, or of a server that speaks as S3 does.

PREFIX/ciflow/blobs/DIGEST and PREFIX/ciflow/records/NAME. Large files go in parts, each with its own digest, and appear
when all are there: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import configparser
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from ciflow.dataclass import dataclass
from ciflow.diagnostics import ArtifactError, Refused
from ciflow.model import EMPTY
from ciflow.sigv4 import CONTENT, Account, signed
from ciflow.store.artifacts.backend import PART, parts
from ciflow.store.artifacts.records import DIGEST
from ciflow.store.artifacts.web import Answer, Cut, Web

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NOTHING = hashlib.sha256(b"").hexdigest()
_MOST_PARTS = 10_000
_SETTINGS = ("region", "endpoint")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where it is: `url` leads to the bucket itself, without a slash at its end."""

    name: str
    prefix: str
    url: str
    region: str


def bucket_of(where: str) -> Bucket:
    """s3://BUCKET/PREFIX?region=REGION&endpoint=URL. Of a server of one's own the bucket is part of the path."""
    address = urlsplit(where)
    said = {name: values[-1] for name, values in parse_qs(address.query).items()}
    if address.netloc != (address.hostname or "") or not address.netloc or set(said) - set(_SETTINGS):
        help = "s3://BUCKET/PREFIX?region=REGION&endpoint=URL; keys are in the environment or ~/.aws/credentials"
        raise Refused(f"no bucket is called {where}", help=help)
    region = said.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = said.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    name = address.netloc
    if endpoint or "." in name:
        url = f"{(endpoint or f'https://s3.{region}.amazonaws.com').rstrip('/')}/{name}"
    else:
        url = f"https://{name}.s3.{region}.amazonaws.com"
    return Bucket(name, address.path.strip("/"), url, region)


def account() -> Account:
    """Whose keys: AWS_ACCESS_KEY_ID and its like, else the profile of ~/.aws/credentials. Refused: there are none."""
    own = Account(
        os.environ.get("AWS_ACCESS_KEY_ID", ""),
        os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
        os.environ.get("AWS_SESSION_TOKEN", ""),
    )
    if own.access and own.secret:
        return own
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    profile = os.environ.get("AWS_PROFILE") or "default"
    known = configparser.RawConfigParser()
    try:
        known.read(path)
        found = dict(known[profile]) if known.has_section(profile) else {}
    except configparser.Error as e:
        raise Refused(f"{path} can't be read: {str(e).splitlines()[0]}") from e
    if not found.get("aws_access_key_id") or not found.get("aws_secret_access_key"):
        why = f"no keys for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, nor `{profile}` in {path}"
        raise Refused(why, help="roles of machines and single sign-on are not built: export keys from them")
    return Account(found["aws_access_key_id"], found["aws_secret_access_key"], found.get("aws_session_token", ""))


class S3:
    """A Backend over HTTP. Each request is signed with the digest of its body, which the server checks."""

    part = PART

    def __init__(self, where: str) -> None:
        self._bucket = bucket_of(where)
        self._account = account()
        self._web = Web(self.where)

    @property
    def where(self) -> str:
        return f"s3://{self._bucket.name}/{self._bucket.prefix}".rstrip("/")

    # --- content -----------------------------------------------------------------------------------------

    def has(self, digest: str) -> bool:
        return self._ask("HEAD", self._blob(digest), well=(200, 404)).status == 200

    def send(self, digest: str, source: Path) -> None:
        size = source.stat().st_size
        if size <= self.part:
            content = b"".join(piece for _, piece in parts(source, digest, self.part))
            self._ask("PUT", self._blob(digest), body=content)
            return
        self._send_parts(digest, source, max(self.part, -(-size // _MOST_PARTS)))

    def _send_parts(self, digest: str, source: Path, size: int) -> None:
        key = self._blob(digest)
        upload = self._under_way(key) or self._begun(key)
        there = self._parts_of(key, upload)
        tags: list[str] = []
        for number, (_, piece) in enumerate(parts(source, digest, size), 1):
            known = there.get(number)
            if known != f'"{hashlib.md5(piece, usedforsecurity=False).hexdigest()}"':
                query = {"partNumber": str(number), "uploadId": upload}
                known = self._ask("PUT", key, query, piece).headers.get("etag", "")
            tags.append(known)
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in enumerate(tags, 1)
        )
        whole = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        answer = self._ask("POST", key, {"uploadId": upload}, whole)
        if b"<Error>" in answer.body:  # S3 may say 200 before it knows
            raise self._refusal(answer, key)

    def _under_way(self, key: str) -> str:
        """The newest upload of this very key that was begun and not ended."""
        found = [one for one in self._uploads(key) if _text(one, "Key") == key]
        return _text(max(found, key=lambda one: _text(one, "Initiated")), "UploadId") if found else ""

    def _uploads(self, prefix: str) -> list[Element]:
        """Uploads that were begun and not ended. Some servers say that there is no such thing where there is none."""
        answer = self._ask("GET", "", {"prefix": prefix, "uploads": ""}, well=(200, 404))
        return list(_each(_xml(answer), "Upload"))

    def _begun(self, key: str) -> str:
        return _text(_xml(self._ask("POST", key, {"uploads": ""})), "UploadId")

    def _parts_of(self, key: str, upload: str) -> dict[int, str]:
        found: dict[int, str] = {}
        marker = ""
        while True:
            query = {"uploadId": upload} | ({"part-number-marker": marker} if marker else {})
            page = _xml(self._ask("GET", key, query))
            found |= {int(_text(one, "PartNumber")): _text(one, "ETag") for one in _each(page, "Part")}
            if _text(page, "IsTruncated") != "true":
                return found
            marker = _text(page, "NextPartNumberMarker")

    def read(self, digest: str, offset: int) -> Iterator[bytes]:
        url, headers = self._signed("GET", self._blob(digest), {}, b"", {"range": f"bytes={offset}-"})
        with self._web.stream(url, headers) as (answer, pieces):
            if answer.status == 206:
                yield from pieces
            elif answer.status == 200:
                yield from skipped(pieces, offset)
            elif answer.status >= 500:
                raise Cut(f"it answers {answer.status}")
            elif answer.status != 416:
                raise self._refusal(Answer(answer.status, answer.headers, b"".join(pieces)), digest[:12])

    def remove(self, digest: str, grace: float) -> int:
        found = self._ask("HEAD", self._blob(digest), well=(200, 404))
        if found.status == 404 or time.time() - _moment(found.headers.get("last-modified", "")) < grace:
            return 0
        self._ask("DELETE", self._blob(digest), well=(200, 204, 404))
        return int(found.headers.get("content-length", 0))

    def lying(self) -> Iterator[tuple[str, float]]:
        return ((name, at) for name, at in self._listed("blobs/") if DIGEST.fullmatch(name))

    def tidy(self, grace: float) -> None:
        for one in self._uploads(self._key("blobs/")):
            if time.time() - _moment(_text(one, "Initiated")) > grace:
                self._ask("DELETE", _text(one, "Key"), {"uploadId": _text(one, "UploadId")}, well=(204, 404))

    # --- records -----------------------------------------------------------------------------------------

    def record(self, name: str) -> str | None:
        answer = self._ask("GET", self._key(f"records/{name}"), well=(200, 404))
        return answer.body.decode(errors="replace") if answer.status == 200 else None

    def records(self, prefix: str = "ciflow-") -> dict[str, str]:
        found = {name: self.record(name) for name, _ in self._listed(f"records/{prefix}", "records/")}
        return {name: text for name, text in found.items() if text is not None}

    def keep_record(self, name: str, text: str, digest: str = "", title: str = "") -> None:  # noqa: ARG002
        self._ask("PUT", self._key(f"records/{name}"), body=text.encode())

    def drop_record(self, name: str) -> None:
        self._ask("DELETE", self._key(f"records/{name}"), well=(200, 204, 404))

    # --- private -----------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return f"{self._bucket.prefix}/ciflow/{name}".lstrip("/")

    def _blob(self, digest: str) -> str:
        return self._key(f"blobs/{digest}")

    def _listed(self, below: str, folder: str = "") -> Iterator[tuple[str, float]]:
        """Names under a prefix, without what leads to their `folder`, and when each was written."""
        prefix, cut, token = self._key(below), self._key(folder or below), ""
        while True:
            query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
            page = _xml(self._ask("GET", "", query))
            for one in _each(page, "Contents"):
                yield _text(one, "Key").removeprefix(cut), _moment(_text(one, "LastModified"))
            if _text(page, "IsTruncated") != "true":
                return
            token = _text(page, "NextContinuationToken")

    def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] = EMPTY,
        body: bytes | None = None,
        well: Sequence[int] = (200,),
    ) -> Answer:
        url, headers = self._signed(method, key, query, body or b"", {})
        answer = self._web.ask(method, url, headers, body if method in ("PUT", "POST") else None)
        if answer.status not in well:
            raise self._refusal(answer, key)
        return answer

    def _signed(
        self, method: str, key: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        words = "&".join(f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in sorted(query))
        url = f"{self._bucket.url}/{quote(key)}" + (f"?{words}" if words else "")
        digest = hashlib.sha256(body).hexdigest() if body else _NOTHING
        wanted = {CONTENT: digest, **headers}
        if body:
            wanted["content-type"] = "application/octet-stream"
        scope = f"{self._bucket.region}/s3"
        return url, signed(method, url, wanted, b"", time.time(), scope, self._account)

    def _refusal(self, answer: Answer, what: str) -> ArtifactError:
        said = answer.body.decode(errors="replace")
        code = said.partition("<Code>")[2].partition("</Code>")[0]
        text = said.partition("<Message>")[2].partition("</Message>")[0]
        why = ": ".join(part for part in (code or str(answer.status), text) if part)
        return ArtifactError(f"{self.where} refuses {what or 'to be listed'}: {why}")


def skipped(pieces: Iterator[bytes], offset: int) -> Iterator[bytes]:
    """What comes after the first `offset` bytes, of a server that gave all of it."""
    for piece in pieces:
        if offset < len(piece):
            yield piece[offset:]
        offset = max(0, offset - len(piece))


def _xml(answer: Answer) -> Element:
    from xml.etree import ElementTree

    try:
        return ElementTree.fromstring(answer.body)
    except ElementTree.ParseError as e:
        raise ArtifactError("the store's answer is no XML: is its address right?") from e


def _each(parent: Element, name: str) -> Iterator[Element]:
    """Elements of that name below, in whatever name space."""
    return (one for one in parent.iter() if one.tag.rpartition("}")[2] == name)


def _text(parent: Element, name: str) -> str:
    return next((one.text or "" for one in _each(parent, name)), "")


def _moment(text: str) -> float:
    """Unix seconds of a time as S3 writes it, in headers or in XML; the present where it writes none."""
    from email.utils import parsedate_to_datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        try:
            return parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError):
            return time.time()
