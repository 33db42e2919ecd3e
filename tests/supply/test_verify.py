"""Policies, and what verification makes of what is vouched for."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from ciflow.diagnostics import Invalid
from ciflow.supply import bundle
from ciflow.supply.dsse import CYCLONEDX, PROVENANCE, Statement, Subject
from ciflow.supply.errors import PolicyFault, SignatureError
from ciflow.supply.keys import SigningKey
from ciflow.supply.provenance import Build, Material, materials_of_lock, predicate_of, read_provenance, repository_uri
from ciflow.supply.times import seconds_of, stamp
from ciflow.supply.trust import Origin, Policy, Signer, policy_of
from ciflow.supply.verify import judge, matches

DATA = b"what was built\n"
NOW = seconds_of("2026-11-25T12:00:00Z")
DAY = 86400.0


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.fresh()


def subject() -> Subject:
    return Subject("server", {"sha256": hashlib.sha256(DATA).hexdigest()})


def proof(key: SigningKey, *, ago: float = 60.0, dirty: bool = False, **change: Any) -> bytes:
    source = Material(
        "source", "git+https://example.org/acme/shield@refs/heads/main", {"gitCommit": "c" * 40}, {"dirty": dirty}
    )
    build = Build(
        builder="https://ci.example.org/acme/runner",
        versions={"ciflow": "0"},
        asked={},
        inside={},
        materials=[Material("crate", "pkg:cargo/a@1", {"sha256": "00"}), source],
        invocation="R-1",
        started=NOW - ago - 10,
        finished=NOW - ago,
    )
    return bundle.attest(Statement((subject(),), PROVENANCE, predicate_of(replace(build, **change))), key)


def policy(key: SigningKey, **change: Any) -> Policy:
    return replace(Policy((Signer("release", key.public),)), **change)


def faults(bundles: list[bytes], policy: Policy, now: float = NOW) -> str:
    with pytest.raises(PolicyFault) as refused:
        judge(DATA, {f"{number}": one for number, one in enumerate(bundles)}, policy, now)
    return str(refused.value)


def test_who_vouched_for_what_is_told(key: SigningKey) -> None:
    attested = bundle.attest(Statement((subject(),), CYCLONEDX, {}), key)
    verdict = judge(DATA, {"a": bundle.sign_blob(DATA, key), "b": attested, "c": proof(key)}, policy(key), NOW)
    assert verdict.signers == ["release"] and verdict.kinds == [CYCLONEDX, PROVENANCE]
    (told,) = verdict.origins
    assert (told.source, told.ref, told.commit) == (
        "git+https://example.org/acme/shield", "refs/heads/main", "c" * 40,
    )  # fmt: skip
    assert (told.builder, told.clean, told.finished) == ("https://ci.example.org/acme/runner", True, NOW - 60)


@pytest.mark.parametrize(
    ("change", "now", "why"),
    [
        ({"revoked": "laptop stolen"}, NOW, "revoked: laptop stolen"),
        ({"ends": NOW}, NOW, "has expired: it was good until 2026-11-25T12:00:00Z"),
        ({"begins": NOW}, NOW - DAY, "is good from 2026-11-25T12:00:00Z only"),
    ],
)
def test_a_key_counts_in_its_time_only(key: SigningKey, change: dict[str, Any], now: float, why: str) -> None:
    held = policy(key, signers=(replace(Signer("release", key.public), **change),))
    assert why in faults([bundle.sign_blob(DATA, key)], held, now)


def test_one_bundle_that_does_not_hold_is_not_looked_past(key: SigningKey) -> None:
    stranger = SigningKey.fresh()
    said = faults([bundle.sign_blob(DATA, key), bundle.sign_blob(DATA, stranger), b"{}"], policy(key))
    assert "1: it was signed by another key" in said and "2: bundle: the field" in said


def test_what_is_missing_is_named(key: SigningKey) -> None:
    wanted = policy(key, provenance=Origin(), attestations=(CYCLONEDX,), count=2)
    said = faults([bundle.attest(Statement((subject(),), "https://example.org/x", {}), key)], wanted)
    assert said.splitlines() == [
        "nobody has signed the file itself",
        f"nobody has attested {CYCLONEDX}",
        "1 of 2 signers have vouched for it",
        "nobody says where it comes from: there is no provenance",
    ]


def test_one_key_under_two_names_is_one_signer(key: SigningKey) -> None:
    twice = policy(key, signers=(Signer("a", key.public), Signer("b", key.public)), count=2)
    assert "1 of 2 signers" in faults([bundle.sign_blob(DATA, key), proof(key)], twice)


@pytest.mark.parametrize(
    ("wanted", "made", "why"),
    [
        (Origin(builder=("https://ci.example.org/acme/other",)), {}, "was built by https://ci.example.org/acme/runner"),
        (Origin(source=("git+https://example.org/acme/other",)), {}, "comes from git+https://example.org/acme/shield"),
        (Origin(ref=("refs/tags/*",)), {}, "was built of refs/heads/main"),
        (Origin(clean=True), {"dirty": True}, "changes that are not committed"),
        (Origin(max_age=30 * DAY), {"ago": 31 * DAY}, "too old: built at 2026-10-25T12:00:00Z"),
        (Origin(source=("**",), ref=("refs/heads/main",)), {"materials": []}, "was built of nobody knows what"),
        (Origin(clean=True), {"materials": []}, "nobody says that its source was clean"),
    ],
)
def test_provenance_is_held_against_the_policy(key: SigningKey, wanted: Origin, made: dict[str, Any], why: str) -> None:
    assert why in faults([proof(key, **made)], policy(key, signature=False, provenance=wanted))


def test_provenance_that_says_what_is_asked_for_is_good(key: SigningKey) -> None:
    wanted = Origin(
        ("https://ci.example.org/acme/*",), ("git+https://example.org/acme/*",), ("refs/heads/*",), True, 90.0
    )
    judge(DATA, {"p": proof(key)}, policy(key, signature=False, provenance=wanted), NOW)


def test_times_that_cannot_be_are_refused(key: SigningKey) -> None:
    free = policy(key, signature=False, provenance=Origin())
    assert "in the future, at 2026-11-26T12:00:00Z" in faults([proof(key, ago=-DAY)], free)
    assert "it ended before it began" in faults([proof(key, started=NOW, finished=NOW - 600)], free)
    late = policy(key, signers=(Signer("release", key.public, begins=NOW - DAY),), signature=False)
    assert "built before the key of release was good" in faults([proof(key, ago=2 * DAY)], late)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("https://example.org/acme/*", "https://example.org/acme/shield", True),
        ("https://example.org/acme/*", "https://example.org/acme/x/y", False),
        ("https://example.org/**", "https://example.org/acme/x/y", True),
        ("https://*.example.org/x", "https://evil.org/a.example.org/x", False),
        ("a.c", "abc", False),
        ("a", "a\n", False),
    ],
)
def test_a_star_stops_at_a_slash(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


# Policies


def read(text: str, files: dict[str, bytes]) -> Policy:
    def reader(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory", name)
        return files[name]

    return policy_of(text.encode(), "policy.yml", reader)


def test_a_policy_is_read(key: SigningKey) -> None:
    found = read(
        """
signers:
  release: {key: keys/release.pem.pub, from: 2026-01-01, until: "2027-01-01T00:00:00+01:00"}
require:
  signature: true
  provenance: {builder: "https://ci.example.org/*", source: [a, b], clean: true, max_age: 30d}
  attestations: [cyclonedx, https://example.org/x]
  signers: 2
""",
        {"keys/release.pem.pub": key.public.pem},
    )
    (signer,) = found.signers
    assert (signer.name, signer.key.id) == ("release", key.public.id)
    assert (stamp(signer.begins), stamp(signer.ends)) == ("2026-01-01T00:00:00Z", "2026-12-31T23:00:00Z")
    assert found.provenance == Origin(("https://ci.example.org/*",), ("a", "b"), (), True, 30 * DAY)
    assert found.attestations == (CYCLONEDX, "https://example.org/x")
    assert (found.signature, found.count) == (True, 2)


def test_a_public_key_is_the_shortest_policy(key: SigningKey) -> None:
    found = policy_of(key.public.pem, "release.pem.pub", lambda _: b"")
    assert found.signature and found.provenance is None and found.signers[0].ends == math.inf


def test_signers_may_stand_in_a_file_of_their_own(key: SigningKey) -> None:
    listed = json.dumps({"signers": {"a": {"pem": key.public.pem.decode(), "revoked": "lost"}}}).encode()
    found = read("signers: signers.json\nrequire: {provenance: {}}\n", {"signers.json": listed})
    assert [(one.name, one.revoked) for one in found.signers] == [("a", "lost")]
    assert found.provenance == Origin() and not found.signature


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("", "", "a policy is a mapping"),
        ("[]", "policy.yml:1:1", "a policy is a mapping"),
        ("require: {}\n", "policy.yml:1:1", "needs `signers`"),
        ("signers: {}\n", "policy.yml:1:10", "nobody may sign"),
        ("signers:\n  a: {}\n", "policy.yml:2:6", "needs `key` or `pem`"),
        ("signers:\n  a: {key: none.pem}\n", "policy.yml:2:12", "none.pem: No such file"),
        ("signers:\n  a: {key: rsa}\n", "policy.yml:2:12", "not PEM"),
        ("signers:\n  a: {pem: x, until: soon}\n", "policy.yml:2:22", "'soon' is no time"),
        ("signers:\n  a: {pem: x, until: 2026-01-01T00:00:00}\n", "policy.yml:2:22", "doesn't say its time zone"),
        ("signers: {a: {pem: x}}\nrequire: {provenence: {}}\n", "policy.yml:2:11", "unknown keyword `provenence`"),
        ("signers: {a: {pem: x}}\nrequire: {signers: 0}\n", "policy.yml:2:20", "at least 1"),
        ("signers:\n  a: {identity: x}\n", "policy.yml:2:6", "has an `identity`; that needs `issuer`, too"),
        ("signers:\n  a: {identity: x, pem: y}\n", "policy.yml:2:", ""),
        (
            "signers:\n  a: {identity: x, issuer: y, certificates: rsa, log: empty}\n",
            "policy.yml:2:6",
            "cannot read the certificates of the authority",
        ),
        ("signers: others.json\n", "policy.yml:1:10", "others.json: No such file"),
        ("signers: empty\n", "policy.yml:1:10", "holds no `signers`"),
        ("signers: {a: [", "policy.yml:1", ""),
    ],
)
def test_a_faulty_policy_is_refused_at_its_place(text: str, place: str, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(text, {"rsa": b"-----BEGIN PUBLIC KEY-----", "empty": b"a: 1"})
    first = refused.value.diagnostics[0]
    assert why in first.message and str(first.span or "").startswith(place)


# Provenance


def test_other_builders_provenance_is_understood() -> None:
    """The form of GitHub's own attestations."""
    predicate = {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {"workflow": {"ref": "refs/heads/main"}},
            "resolvedDependencies": [
                {"uri": "git+https://github.com/acme/shield@refs/heads/main", "digest": {"gitCommit": "d" * 40}}
            ],
        },
        "runDetails": {
            "builder": {"id": "https://github.com/acme/shield/.github/workflows/r.yml@refs/heads/main"},
            "metadata": {"invocationId": "https://github.com/acme/shield/actions/runs/1/attempts/1"},
        },
    }
    told = read_provenance(predicate)
    assert (told.source, told.ref, told.commit) == ("git+https://github.com/acme/shield", "refs/heads/main", "d" * 40)
    assert told.clean is None and told.finished is None


@pytest.mark.parametrize(
    ("predicate", "why"),
    [
        ({}, "'buildDefinition' is missing"),
        ({"buildDefinition": {}, "runDetails": {}}, "'buildType' is missing"),
        (
            {
                "buildDefinition": {"buildType": "x", "externalParameters": {}},
                "runDetails": {"builder": {"id": "x"}, "metadata": {"finishedOn": "yesterday"}},
            },
            "finishedOn: 'yesterday' is no time",
        ),
    ],
)
def test_what_is_no_provenance_is_refused_at_its_place(predicate: dict[str, Any], why: str) -> None:
    with pytest.raises(SignatureError, match=why):
        read_provenance(predicate)


@pytest.mark.parametrize(
    ("remote", "uri"),
    [
        ("https://ann:token@example.org/acme/shield.git", "git+https://example.org/acme/shield@refs/heads/main"),
        ("git@example.org:acme/shield.git", "git+ssh://example.org/acme/shield@refs/heads/main"),
        ("ssh://git@example.org:2222/acme/shield", "git+ssh://example.org:2222/acme/shield@refs/heads/main"),
        ("/srv/git/shield.git", "git+file:///srv/git/shield@refs/heads/main"),
    ],
)
def test_a_repository_is_named_without_who_logs_in_there(remote: str, uri: str) -> None:
    assert repository_uri(remote, "refs/heads/main") == uri


def test_crates_of_a_lock_are_materials_with_their_digests() -> None:
    lock = f"""
version = 4
[[package]]
name = "app"
version = "1.0.0"
[[package]]
name = "serde"
version = "1.0.0+x"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "{"a" * 64}"
[[package]]
name = "delta"
version = "0.1.0"
source = "git+https://example.org/delta?branch=main#{"b" * 40}"
"""
    assert materials_of_lock(lock) == [
        Material("serde", "pkg:cargo/serde@1.0.0%2Bx", {"sha256": "a" * 64}),
        Material("delta", "git+https://example.org/delta", {"gitCommit": "b" * 40}),
    ]
