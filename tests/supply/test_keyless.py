"""Signing without a key of one's own, by a local issuer, authority and log (`tests/parts/keyless.py`): tests can't
reach Sigstore's public services. Sigstore's own library judges what comes of it."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ciflow.modules.files import keyless as client
from ciflow.supply import bundle, keyless
from ciflow.supply.certificates import Authority, Holder
from ciflow.supply.dsse import Statement, Subject
from ciflow.supply.errors import PolicyFault, SignatureError
from ciflow.supply.keys import SigningKey
from ciflow.supply.transparency import root_of
from ciflow.supply.trust import Policy, Signer
from ciflow.supply.verify import judge
from tests.parts.keyless import ISSUER, JOB, Services, path, root, services
from tests.parts.sigstore import Sigstore

DATA = b"what was built\n"
SUBJECT = Subject("server", {"sha256": hashlib.sha256(DATA).hexdigest()})
STATEMENT = Statement((SUBJECT,), "https://example.org/p/v1", {"a": 1})
Change = Callable[[dict[str, Any]], Any]
Content = Callable[[SigningKey], Mapping[str, Any]]


@pytest.fixture(scope="module")
def local() -> Iterator[Services]:
    with services() as made:
        yield made


@pytest.fixture
def wish(local: Services, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    for name, value in local.env.items():
        monkeypatch.setenv(name, value)
    return {"fulcio": local.url, "rekor": local.url, "token_file": ""}


def blob(key: SigningKey) -> Mapping[str, Any]:
    return bundle.signature(DATA, key)


def attested(key: SigningKey) -> Mapping[str, Any]:
    return bundle.attestation(STATEMENT, key, keyid="")


def holder(local: Services, identity: str = JOB, issuer: str = ISSUER) -> Holder:
    return Holder(identity, issuer, Authority.of(local.authority.chain, local.log.pem))


def made(local: Services, content: Content = blob, job: str = JOB) -> bytes:
    def log(_path: str, asked: bytes) -> bytes:
        return json.dumps(local.log.answer(json.loads(asked))).encode()

    def authority(_path: str, asked: bytes) -> bytes:
        return json.dumps(local.authority.answer(json.loads(asked), local.issuer)).encode()

    return keyless.signed(content, local.issuer.token(job), authority, log)


def test_a_job_signs_as_whom_its_ci_says_that_it_is(local: Services, wish: Mapping[str, Any]) -> None:
    for content in (blob, attested):
        signed = client.signed(wish, content)
        found = bundle.verify(signed, DATA, [holder(local)])
        assert found.witness is not None
        assert (found.witness.identity.name, found.witness.identity.issuer) == (JOB, ISSUER)
        assert abs(found.witness.at - time.time()) < 60
        assert found.statement == (None if content is blob else STATEMENT)
        assert bundle.claimed(signed) == JOB


def test_sigstores_own_library_accepts_it(local: Services, sigstore: Sigstore) -> None:
    for content in (blob, attested):
        signed = made(local, content)
        trust = (local.authority.chain, local.log.pem)
        assert sigstore.trusts(signed, DATA, *trust, JOB, ISSUER) == ""
        if content is blob:  # whom an attestation is about, it leaves to others
            assert sigstore.trusts(signed, DATA + b"x", *trust, JOB, ISSUER) != ""
        assert sigstore.trusts(signed, DATA, *trust, f"{JOB}x", ISSUER) != ""
        with services() as other:
            assert sigstore.trusts(signed, DATA, other.authority.chain, local.log.pem, JOB, ISSUER) != ""
            assert sigstore.trusts(signed, DATA, local.authority.chain, other.log.pem, JOB, ISSUER) != ""


@pytest.mark.parametrize("content", [blob, attested])
def test_no_bit_of_it_can_be_changed_unseen(local: Services, content: Content) -> None:
    """Each bit of one in three bytes; which third is chosen by the place, so that every field has its share."""
    signed, known = made(local, content), [holder(local)]
    bundle.verify(signed, DATA, known)
    for at in range(0, len(signed), 3):
        changed = signed[:at] + bytes([signed[at] ^ 1 << at // 3 % 8]) + signed[at + 1 :]
        with pytest.raises(SignatureError):
            bundle.verify(changed, DATA, known)


def test_another_file_is_not_what_was_signed(local: Services) -> None:
    for content, why in ((blob, "another file"), (attested, "another artifact")):
        with pytest.raises(SignatureError, match=why):
            bundle.verify(made(local, content), DATA + b"x", [holder(local)])


@pytest.mark.parametrize(
    ("identity", "issuer", "good"),
    [
        (JOB, ISSUER, True),
        ("https://forge.example/acme/*/.github/workflows/release.yml@refs/heads/main", ISSUER, True),
        ("https://forge.example/acme/**", ISSUER, True),
        ("https://forge.example/*", ISSUER, False),
        ("https://forge.example/acme/shield/.github/workflows/release.yml@refs/heads/other", ISSUER, False),
        (JOB, "https://other.example", False),
        ("**", "https://other.example", False),
    ],
)
def test_a_policy_says_whom_the_certificate_is_to_name(local: Services, identity: str, issuer: str, good: bool) -> None:
    policy = Policy((Signer("ci", holder(local, identity, issuer)),))
    signed = {"server.sigstore.json": made(local)}
    if good:
        assert judge(DATA, signed, policy, time.time()).signers == ["ci"]
        return
    with pytest.raises(PolicyFault, match=f"signed by {JOB}, for whom {ISSUER} vouched: nobody of the policy"):
        judge(DATA, signed, policy, time.time())


def test_a_name_that_is_called_back_counts_no_more_whatever_else_the_policy_says(local: Services) -> None:
    """Also under another name and by way of another authority, which has its say where the first has none."""
    with services() as other:
        elsewhere = Holder(JOB, ISSUER, Authority.of(other.authority.chain, other.log.pem))
        both = (Signer("there", elsewhere), Signer("here", holder(local)))
        assert judge(DATA, {"a": made(local)}, Policy(both), time.time()).signers == ["here"]
        assert judge(DATA, {"a": made(other)}, Policy(both), time.time()).signers == ["there"]
        gone = (*both, Signer("gone", holder(local), revoked="the job was taken over"))
        for services_ in (local, other):
            with pytest.raises(PolicyFault, match="revoked: the job was taken over"):
                judge(DATA, {"a": made(services_)}, Policy(gone), time.time())


def test_a_certificate_counts_long_after_it_is_over_for_the_log_has_seen_it_used(local: Services) -> None:
    policy, signed = Policy((Signer("ci", holder(local)),)), {"a": made(local)}
    year = 365 * 86400
    assert judge(DATA, signed, policy, time.time() + year).signers == ["ci"]
    gone = replace(policy, signers=(replace(policy.signers[0], ends=time.time() - 60),))
    with pytest.raises(PolicyFault, match="has expired"):
        judge(DATA, signed, gone, time.time() + year)
    with pytest.raises(PolicyFault, match="logged in the future"):
        judge(DATA, signed, policy, time.time() - 3600)


def test_what_was_used_when_it_was_not_good_is_refused(local: Services) -> None:
    for late in (-3600.0, 3600.0):
        local.log.late = late
        try:
            signed = made(local)
        finally:
            local.log.late = 0.0
        with pytest.raises(SignatureError, match="certificate: it was not good at"):
            bundle.verify(signed, DATA, [holder(local)])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, "not for signing code"),
        ({"critical": True}, "1.2.3.4 is critical, and not understood"),
        ({"issuer": "x" * 200}, "it is to name one identity"),
        ({"begins": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}, "was not good at"),
    ],
)
def test_a_certificate_that_is_for_something_else_is_refused(local: Services, change: dict[str, Any], why: str) -> None:
    def authority(_path: str, asked: bytes) -> bytes:
        request = x509.load_pem_x509_csr(base64.b64decode(json.loads(asked)["certificateSigningRequest"]))
        pem = local.authority.certify(request.public_key(), JOB, **change).public_bytes(Encoding.PEM).decode()
        return json.dumps({"signedCertificateEmbeddedSct": {"chain": {"certificates": [pem]}}}).encode()

    def log(_path: str, asked: bytes) -> bytes:
        return json.dumps(local.log.answer(json.loads(asked))).encode()

    signed = keyless.signed(blob, "token", authority, log)
    with pytest.raises(SignatureError, match=why):
        bundle.verify(signed, DATA, [holder(local)])


def test_an_authority_or_log_that_nobody_trusts_is_refused(local: Services) -> None:
    signed = made(local)
    with services() as other:
        strange = Holder(JOB, ISSUER, Authority.of(other.authority.chain, local.log.pem))
        with pytest.raises(SignatureError, match="not issued by whom it names"):
            bundle.verify(signed, DATA, [strange])
        elsewhere = Holder(JOB, ISSUER, Authority.of(local.authority.chain, other.log.pem))
        with pytest.raises(SignatureError, match="nobody in the policy signs by way of this log"):
            bundle.verify(signed, DATA, [elsewhere])
    with pytest.raises(SignatureError, match="nobody in the policy"):
        bundle.verify(signed, DATA, [SigningKey.fresh().public])
    assert bundle.verify(signed, DATA, [SigningKey.fresh().public, strange, holder(local)]).witness


def test_the_logs_word_on_another_signature_is_no_word_on_this_one(local: Services) -> None:
    """An entry, whole and signed by the log, moved into the bundle of another signature of the same job."""
    for content, other in ((blob, blob), (attested, attested), (blob, attested)):
        one, two = (json.loads(made(local, kind)) for kind in (content, other))
        one["verificationMaterial"]["tlogEntries"] = two["verificationMaterial"]["tlogEntries"]
        with pytest.raises(SignatureError, match=r"another signature or certificate|it is to be hashedrekord"):
            bundle.verify(json.dumps(one).encode(), DATA, [holder(local)])


def _entry(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["verificationMaterial"]["tlogEntries"][0]
    return found


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d["verificationMaterial"].update(tlogEntries=[]), "is to say when it was used; there are 0"),
        (lambda d: d["verificationMaterial"]["tlogEntries"].append(_entry(d)), "there are 2"),
        (lambda d: _entry(d).pop("inclusionPromise"), "'inclusionPromise' is missing"),
        (lambda d: _entry(d).pop("inclusionProof"), "'inclusionProof' is missing"),
        (lambda d: _entry(d)["inclusionProof"].pop("checkpoint"), "'checkpoint' is missing"),
        (lambda d: _entry(d)["inclusionProof"].update(hashes=[]), "does not lead to the root"),
        (lambda d: _entry(d)["inclusionProof"].update(hashes=7), "hashes: a list is wanted"),
        (lambda d: _entry(d)["inclusionProof"].update(treeSize="007"), "treeSize: a number is wanted"),
        (lambda d: _entry(d).update(integratedTime="1" * 400), "integratedTime: a number is wanted"),
        (lambda d: _entry(d).update(integratedTime="1700000000"), "does not match"),
        (lambda d: _entry(d)["kindVersion"].update(kind="intoto"), "not what the entry is"),
        (lambda d: d["verificationMaterial"].update(publicKey={"hint": "x"}), "either a public key or a certificate"),
        (lambda d: d["verificationMaterial"]["certificate"].update(rawBytes="AAAA"), "certificate: "),
        (
            lambda d: d["verificationMaterial"].update(timestampVerificationData={"rfc3161Timestamps": [{}]}),
            "timestamps, which are not checked here",
        ),
    ],
)
def test_what_is_missing_or_misplaced_is_told(local: Services, change: Change, why: str) -> None:
    document = json.loads(made(local))
    change(document)
    with pytest.raises(SignatureError, match=why):
        bundle.verify(json.dumps(document).encode(), DATA, [holder(local)])


def test_without_a_token_nobody_can_sign(local: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    wish = {"fulcio": local.url, "rekor": local.url, "token_file": ""}
    with pytest.raises(SignatureError, match="nobody here says who you are"):
        client.signed(wish, blob)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", local.issuer.token(lasts=-1))
    with pytest.raises(SignatureError, match=r"400.*of another time"):
        client.signed(wish, blob)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", local.issuer.token())
    assert bundle.claimed(client.signed(wish, blob)) == JOB


def test_a_token_goes_nowhere_in_the_clear(wish: Mapping[str, Any]) -> None:
    with pytest.raises(SignatureError, match="a token is sent by https only"):
        client.signed({**wish, "fulcio": "http://fulcio.example"}, blob)


def test_an_authority_that_certifies_another_key_is_caught(local: Services) -> None:
    other = local.authority.certify(local.log.key.public_key(), JOB).public_bytes(Encoding.PEM).decode()
    answer = json.dumps({"signedCertificateEmbeddedSct": {"chain": {"certificates": [other]}}}).encode()
    with pytest.raises(SignatureError, match="a certificate for another key"):
        keyless.signed(blob, "token", lambda *_: answer, lambda *_: b"{}")
    with pytest.raises(SignatureError, match="gave no certificate"):
        keyless.signed(blob, "token", lambda *_: b"{}", lambda *_: b"{}")


@pytest.mark.parametrize("size", range(1, 18))
def test_every_leaf_of_a_tree_leads_to_its_root_and_no_other(size: int) -> None:
    """Paths as RFC 6962 defines them, over all trees of up to 17 leaves."""
    leaves = [hashlib.sha256(b"\0%d" % number).digest() for number in range(size)]
    for index, leaf in enumerate(leaves):
        way = path(index, leaves)
        assert root_of(leaf, index, size, way) == root(leaves)
        for other in range(size + 1):
            assert other == index or root_of(leaf, other, size, way) != root(leaves)
        assert root_of(leaf, index, size, [*way, leaf]) != root(leaves)
