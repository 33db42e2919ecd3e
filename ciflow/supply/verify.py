"""Holds what is vouched for an artifact against a policy: every fault at once, or who said what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ciflow.dataclass import dataclass
from ciflow.supply import bundle
from ciflow.supply.dsse import PROVENANCE, Statement
from ciflow.supply.errors import PolicyFault, SignatureError
from ciflow.supply.patterns import matches
from ciflow.supply.provenance import Told, read_provenance
from ciflow.supply.times import stamp
from ciflow.supply.trust import Origin, Policy, Signer

SKEW = 300.0  # seconds that the clocks of a builder and of who verifies may differ


@dataclass(frozen=True, slots=True)
class Voice:
    """One bundle that holds: in which file, by whom, and what it says (None: these are the bytes)."""

    file: str
    signer: Signer
    statement: Statement | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What holds for an artifact. `origins` are what its provenances say."""

    voices: tuple[Voice, ...]
    origins: tuple[Told, ...]

    @property
    def signers(self) -> list[str]:
        return sorted({voice.signer.name for voice in self.voices})

    @property
    def kinds(self) -> list[str]:
        return sorted({voice.statement.kind for voice in self.voices if voice.statement is not None})


def judge(data: bytes, bundles: Mapping[str, bytes], policy: Policy, now: float) -> Verdict:
    """What the bundles (by file name) say of these bytes, at this time.

    Every bundle that is given must hold: one that was tampered with is a sign of trouble, not one to look past.

    Raises:
        PolicyFault: all that is wrong or missing.
    """
    faults: list[str] = []
    voices: list[Voice] = []
    for file, content in bundles.items():
        try:
            voices.append(_heard(file, content, data, policy.signers, now))
        except SignatureError as error:
            faults.append(f"{file}: {error}")
    origins = tuple(_origins(voices, now, faults))
    if not faults:
        faults += _missing(policy, voices, origins, now)
    if faults:
        raise PolicyFault("\n".join(faults))
    return Verdict(tuple(voices), origins)


def _heard(file: str, content: bytes, data: bytes, signers: Iterable[Signer], now: float) -> Voice:
    """A key counts by the clock of who verifies, for nobody has seen when it signed; a certificate by the log's."""
    known = tuple(signers)
    vouched = bundle.verify(content, data, [signer.key for signer in known])
    same = [signer for signer in known if signer.key.id == vouched.key.id]
    signer = next((one for one in same if one.revoked), None)  # under any name
    signer = signer or next(one for one in same if one.key is vouched.key)
    if signer.revoked:
        raise SignatureError(f"the key of {signer.name} is revoked: {signer.revoked}")
    at = now if vouched.witness is None else vouched.witness.at
    if at > now + SKEW:
        raise SignatureError(f"it was logged in the future, at {stamp(at)}")
    if at >= signer.ends:
        raise SignatureError(f"the key of {signer.name} has expired: it was good until {stamp(signer.ends)}")
    if at + SKEW < signer.begins:
        raise SignatureError(f"the key of {signer.name} is good from {stamp(signer.begins)} only")
    return Voice(file, signer, vouched.statement)


def _origins(voices: Iterable[Voice], now: float, faults: list[str]) -> Iterator[Told]:
    """What the provenances among them say; what can't be true is a fault."""
    for voice in voices:
        if voice.statement is None or voice.statement.kind != PROVENANCE:
            continue
        try:
            told = read_provenance(voice.statement.predicate)
        except SignatureError as error:
            faults.append(f"{voice.file}: {error}")
            continue
        times = [time for time in (told.started, told.finished) if time is not None]
        if any(time > now + SKEW for time in times):
            faults.append(f"{voice.file}: it says that it was built in the future, at {stamp(max(times))}")
        elif any(time + SKEW < voice.signer.begins for time in times):
            faults.append(f"{voice.file}: built before the key of {voice.signer.name} was good")
        yield told


def _missing(policy: Policy, voices: list[Voice], origins: tuple[Told, ...], now: float) -> Iterator[str]:
    if policy.signature and not any(voice.statement is None for voice in voices):
        yield "nobody has signed the file itself"
    kinds = {voice.statement.kind for voice in voices if voice.statement is not None}
    for wanted in policy.attestations:
        if wanted not in kinds:
            yield f"nobody has attested {wanted}"
    number = len({voice.signer.key.id for voice in voices})
    if number < policy.count:
        yield f"{number} of {policy.count} signers have vouched for it"
    if policy.provenance is not None:
        yield from _unproven(policy.provenance, origins, now)


def _unproven(wanted: Origin, origins: tuple[Told, ...], now: float) -> Iterator[str]:
    """What is wrong with the first provenance, when none is good."""
    if not origins:
        yield "nobody says where it comes from: there is no provenance"
        return
    found = [list(_strange(wanted, told, now)) for told in origins]
    if all(found):
        yield from found[0]


def _strange(wanted: Origin, told: Told, now: float) -> Iterator[str]:
    for what, patterns, value in (
        ("was built by", wanted.builder, told.builder),
        ("comes from", wanted.source, told.source),
        ("was built of", wanted.ref, told.ref),
    ):
        if patterns and not any(matches(pattern, value) for pattern in patterns):
            yield f"it {what} {value or 'nobody knows what'}; the policy has {' or '.join(patterns)}"
    if wanted.clean and told.clean is None:
        yield "nobody says that its source was clean"
    elif wanted.clean and not told.clean:
        yield "its source had changes that are not committed"
    if told.finished is None and wanted.max_age != float("inf"):
        yield "nobody says when it was built"
    elif told.finished is not None and now - told.finished > wanted.max_age:
        yield f"it is too old: built at {stamp(told.finished)}, {wanted.max_age:g} s are allowed"
