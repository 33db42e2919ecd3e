"""Statements and envelopes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ciflow.supply import dsse
from ciflow.supply.dsse import Statement, Subject
from ciflow.supply.errors import SignatureError
from ciflow.supply.keys import SigningKey
from ciflow.supply.strict import read

DATA = b"what was built\n"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.fresh()


@pytest.fixture(scope="module")
def other() -> SigningKey:
    return SigningKey.fresh()


def opened(document: dict[str, Any] | bytes, *keys: SigningKey) -> tuple[str, bytes]:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return dsse.open_envelope(read(text, "envelope"), [one.public for one in keys])[:2]


def test_pae_is_that_of_the_specification() -> None:
    # the test vector of DSSE's protocol.md
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes_not_characters() -> None:
    assert dsse.pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_an_envelope_gives_its_payload_to_the_right_key_only(key: SigningKey, other: SigningKey) -> None:
    document = dsse.envelope(DATA, "text/plain", key)
    assert opened(document, key) == ("text/plain", DATA)
    assert opened(document, other, key) == ("text/plain", DATA)
    with pytest.raises(SignatureError, match="by this key"):
        opened(document, other)


def test_an_envelope_holds_when_one_of_several_signatures_does(key: SigningKey, other: SigningKey) -> None:
    ours, theirs = (dsse.envelope(DATA, "t", one) for one in (key, other))
    both = ours | {"signatures": theirs["signatures"] + ours["signatures"]}
    assert opened(both, key) == ("t", DATA)


def test_we_open_an_envelope_that_others_made(key: SigningKey) -> None:
    """securesystemslib names keys by ids of its own, which say nothing that is signed."""
    theirs = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer").CryptoSigner.generate_ecdsa()
    envelope = theirs.Envelope(DATA, "text/plain", {})
    envelope.sign(signer)
    made = SigningKey.fresh()
    made._take(signer._private_key)
    assert opened(envelope.to_dict(), key, made) == ("text/plain", DATA)


def test_the_dsse_library_of_others_accepts_an_envelope(key: SigningKey) -> None:
    theirs = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    content = dsse.envelope(DATA, "text/plain", key)
    public = {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": key.public.pem.decode()}}
    known = signer.SSlibKey.from_dict(content["signatures"][0]["keyid"], public)
    assert theirs.Envelope.from_dict(content).verify([known], 1)


@pytest.mark.parametrize("field", ["payload", "payloadType", "sig"])
def test_a_changed_envelope_is_refused(key: SigningKey, field: str) -> None:
    document = dsse.envelope(DATA, "text/plain", key)
    holder: dict[str, Any] = document["signatures"][0] if field == "sig" else document
    holder[field] = base64.b64encode(b"something else").decode()
    with pytest.raises(SignatureError):
        opened(document, key)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"", "line 1, column 1"),
        (b"[]", "envelope: a JSON object"),
        (b"{}", "'payloadType' is missing"),
        (b"\xff", "byte 0"),
        (b'{"payloadType": "a", "payload": "eA==", ', "line 1"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 90 + b"1" + b"}" * 90, "nested deeper than 64"),
        (b'{"payload": "a", "payload": "b"}', "stands twice"),
        (b'{"payload": NaN}', "NaN"),
        (b'{"payload": ' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * (16 * 1024 * 1024 + 1), "larger than 16 MiB"),
        (b'{"payloadType": "a", "payload": "", "signatures": []}', "nobody has signed"),
        (b'{"payloadType": "a", "payload": "", "signatures": [1]}', r"signatures\[0\]: an object"),
        (b'{"payloadType": "a", "payload": "%%", "signatures": [{"sig": ""}]}', "envelope.payload: not base64"),
        (b'{"payloadType": "a", "payload": "eB==", "signatures": [{"sig": ""}]}', "only form"),
        (b'{"payloadType": "a", "payload": "", "signatures": [{"sig": 5}]}', r"signatures\[0\].sig: text"),
        (b'{"payloadType": "a", "payload": "", "signatures": [{"sig": "", "alg": "none"}]}', "unknown field 'alg'"),
    ],
)
def test_what_is_no_envelope_is_refused_with_the_place(key: SigningKey, text: bytes, place: str) -> None:
    with pytest.raises(SignatureError, match=place):
        opened(text, key)


def test_a_statement_is_read_as_it_was_written() -> None:
    subjects = (Subject("a", {"sha256": "00"}), Subject("b", {"sha256": "11"}))
    statement = Statement(subjects, "https://example.org/p/v1", {"x": [1, {"y": None}]})
    assert dsse.statement_of(dsse.IN_TOTO, statement.to_bytes()) == statement
    assert statement.is_about("11") and not statement.is_about("22")


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("text/plain", b"{}", "no in-toto statement"),
        (dsse.IN_TOTO, b"{}", "'_type' is missing"),
        (dsse.IN_TOTO, b'{"_type": "https://in-toto.io/Statement/v0.1"}', "no in-toto statement v1"),
        (dsse.IN_TOTO, b'{"_type": "https://in-toto.io/Statement/v1", "subject": []}', "about nothing"),
    ],
)
def test_a_signed_text_that_is_no_statement_is_refused(kind: str, text: bytes, why: str) -> None:
    with pytest.raises(SignatureError, match=why):
        dsse.statement_of(kind, text)


def test_a_statement_needs_subjects_with_digests() -> None:
    for subjects in ((), (Subject("a", {}),)):
        with pytest.raises(SignatureError, match="needs a subject"):
            Statement(subjects, "t", {}).to_bytes()
