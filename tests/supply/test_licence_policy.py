"""Which licences a policy takes: held against the boolean algebra of license-expression, and the notices."""

from __future__ import annotations

import random
from datetime import date

import pytest
from license_expression import get_spdx_licensing

from ciflow.supply import licence_policy
from ciflow.supply.crate_licences import notices, texts_of
from ciflow.supply.errors import PolicyError
from ciflow.supply.licence_policy import ALLOWED, DENIED, UNLISTED, Crate, judged, parse, weigh

NAMES = ("MIT", "Apache-2.0", "ISC", "Zlib", "GPL-3.0-only", "GPL-2.0-only WITH Classpath-exception-2.0")
TODAY = date(2026, 6, 30)
EXCEPTION = 'allow = ["MIT"]\n[[exception]]\ncrate = "one"\nallow = ["ISC"]\nreason = "r"\n'


def crate(licence: str | None, name: str = "one", **more: object) -> Crate:
    fields = {
        "source": "registry",
        "directory": f"/c/{name}",
        "delivered": True,
        "chain": ("app 1.0.0", f"{name} 1.0.0"),
    }
    return Crate(name=name, version="1.0.0", licence=licence, **{**fields, **more})  # type: ignore[arg-type]


def state(licence: str | None, policy: str) -> str:
    (verdict,), _ = judged([crate(licence)], parse(policy, "p.toml"), TODAY)
    return verdict.state


def expression(chance: random.Random, deep: int = 3) -> str:
    if deep == 0 or chance.random() < 0.3:
        return chance.choice(NAMES)
    parts = [expression(chance, deep - 1) for _ in range(chance.randint(2, 3))]
    return "(" + f" {chance.choice(('AND', 'OR'))} ".join(parts) + ")" if chance.random() < 0.6 else " OR ".join(parts)


def test_an_expression_holds_exactly_when_its_boolean_algebra_says_so() -> None:
    licensing, chance = get_spdx_licensing(), random.Random(11)
    for _ in range(300):
        text = expression(chance)
        allowed = {name for name in NAMES if chance.random() < 0.5}
        parsed = licensing.parse(text)
        truth = {symbol: licensing.TRUE if str(symbol) in allowed else licensing.FALSE for symbol in parsed.symbols}
        expected = parsed.subs(truth, simplify=True) == licensing.TRUE
        found, _ = weigh(text, lambda leaf, allowed=allowed: ALLOWED if leaf in allowed else UNLISTED)  # type: ignore[misc]
        assert (found == ALLOWED) is expected, (text, allowed)


def test_and_binds_before_or() -> None:
    """SPDX 2.3 annex D.4."""
    assert weigh("MIT OR ISC AND Zlib", lambda leaf: ALLOWED if leaf == "MIT" else DENIED)[0] == ALLOWED
    assert weigh("(MIT OR ISC) AND Zlib", lambda leaf: ALLOWED if leaf == "MIT" else DENIED) == (DENIED, ("Zlib",))


@pytest.mark.parametrize(
    ("licence", "policy", "expected"),
    [
        ("MIT/Apache-2.0", 'allow = ["MIT"]', "allowed"),
        ("MIT AND Apache-2.0", 'allow = ["MIT"]', "unlisted"),
        ("MIT OR GPL-3.0-only", 'allow = ["MIT"]\ndeny = ["GPL-3.0-only"]', "allowed"),
        ("MIT AND GPL-3.0-only", 'allow = ["MIT"]\ndeny = ["GPL-3.0-only"]', "denied"),
        ("ISC", 'deny = ["GPL-3.0-only"]', "allowed"),
        ("GPL-3.0-only", 'deny = ["gpl-3.0-ONLY"]', "denied"),
        ("Apache-2.0 WITH LLVM-exception", 'allow = ["Apache-2.0"]', "unlisted"),
        ("Apache-2.0 WITH LLVM-exception", 'allow = ["Apache-2.0 WITH LLVM-exception"]', "allowed"),
        ("GPL-2.0-or-later", 'allow = ["GPL-2.0-only"]', "allowed"),
        ("GPL-2.0-only", 'allow = ["GPL-2.0-or-later"]', "unlisted"),
        ("Apache-2.0+", 'allow = ["Apache-2.0"]', "allowed"),
        (None, 'allow = ["MIT"]', "unknown"),
        ("see LICENSE", 'allow = ["MIT"]', "unknown"),
        (None, 'allow = ["MIT"]\nunknown = "allow"', "allowed"),
        (None, 'deny = ["GPL-3.0-only"]', "unknown"),
        ("ISC", EXCEPTION, "excepted"),
        ("ISC", EXCEPTION.replace("one", "one 2.0.0"), "unlisted"),
        ("ISC", EXCEPTION + "until = 2026-06-30", "excepted"),
        ("ISC", EXCEPTION + "until = 2026-06-29", "unlisted"),
        ("see X", 'allow = ["MIT"]\n[[clarify]]\ncrate = "one"\nlicence = "MIT"\nreason = "read it"', "allowed"),
    ],
)  # fmt: skip
def test_a_policy_takes_and_refuses(licence: str | None, policy: str, expected: str) -> None:
    assert state(licence, policy) == expected


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("", "neither allows nor denies"),
        ("allow = [", "not TOML"),
        ("a = " + "[" * 100_000, "not TOML"),
        ('allowed = ["MIT"]', "no setting allowed"),
        ('allow = "MIT"', "list of licences"),
        ('allow = ["MITT"]', "no licence of the SPDX list"),
        ('allow = ["MIT OR ISC"]', "no licence of the SPDX list"),
        ('allow = ["MIT"]\ndeny = ["mit"]', "both allows and denies MIT"),
        ('allow = ["MIT"]\nunknown = "warn"', "unknown is deny or allow"),
        ('allow = ["MIT"]\n[[exception]]\ncrate = "x"\nallow = ["ISC"]', "lacks a reason"),
        ('allow = ["MIT"]\n[[exception]]\ncrate = "x"\nreason = "r"\nuntil = "soon"', "until is a day"),
        ('allow = ["MIT"]\n[[clarify]]\ncrate = "x"\nreason = "r"\nlicence = "free"', "licence is an SPDX expression"),
        ('allow = ["MIT"]\nexception = 1', "list of"),
    ],
)
def test_a_policy_that_can_not_be_understood_is_refused(policy: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse(policy, "p.toml")


def test_exceptions_that_are_over_or_needless_are_said() -> None:
    entry = '[[exception]]\ncrate = "{}"\nallow = ["ISC"]\nreason = "r"\nuntil = 2026-01-01\n'
    policy = parse('allow = ["MIT"]\n' + entry.format("one") + entry.format("gone"), "p")
    _, said = judged([crate("MIT")], policy, TODAY)
    assert [("is over" in one, "can go" in one) for one in said] == [(True, False), (False, True)]


def test_each_text_stands_once_below_all_crates_that_bring_it() -> None:
    crates = [crate("MIT", "one"), crate("MIT", "two"), crate("ISC", "three"), crate(None, "bare")]
    output = b"\x1e/c/one/LICENSE\x1fBe  good.\n\x1e/c/two/LICENSE-MIT\x1fBe good.\r\n"
    output += b"\x1e/c/three/COPYING\x1fBe\x1b[2J kind.\xff"
    text, without = notices(crates, texts_of(output))
    assert (text.count("Be  good."), text.count("Be good."), text.count("kind.")) == (1, 0, 1)
    assert text.index("one 1.0.0 (MIT)") < text.index("two 1.0.0 (MIT)") < text.index("Be  good.")
    assert without == ("bare 1.0.0",)
    assert "\x1b" not in text
    assert "bare 1.0.0 (no licence said)" in text


def test_what_a_file_of_policy_is_called_stands_in_the_manual() -> None:
    from tests.docs.pages import ROOT

    assert licence_policy.FILE in (ROOT / "docs" / "licenses.md").read_text()
