"""`require:` with a router that carries traffic: what nobody vouches for never meets a user, and is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.service import Service, finish
from tests.supply import leaky

KEY = "key: {home}/release.pem, passphrase_file: {home}/passphrase"
BEFORE = """
  - name: Build
    hosts: localhost
    tasks:
      - shell: "(cat {home}/program.py; echo '# {{{{ version }}}}') > {home}/built.py"
    artifacts: [{{name: program, path: {home}/built.py}}]
  - name: Vouch for it
    hosts: localhost
    tasks:
      - {{name: A key, sign: {{path: {home}/program.py, dest: {home}/elsewhere, create_key: true, {key}}}}}
      - {{name: Sign, when: "lacks != 'signature'", sign: {{artifact: program, {key}}}}}
      - {{name: Attest, when: "lacks != 'provenance'", attest: {{artifact: program, provenance: true, {key}}}}}
      - name: Scan
        when: lacks != 'scan'
        scan: {{chdir: "{home}/{{{{ crate }}}}", artifact: program, databases: [{home}/advisories], fail_on: never}}
"""
REQUIRE = "require: {{signed_by: {home}/release.pem.pub, provenance: true, no_vulnerabilities: medium}}"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def requiring(production: Service) -> str:
    """A release of an artifact that must be signed, of a known origin, and scanned without a hole of severity medium
    (CVSS 5.3, as the one of `leaky` 1.0.0)."""
    home = production.home
    put(home / "passphrase", "no one knows")
    put(home / "advisories" / leaky.PLACE, leaky.ADVISORY)
    for crate, version in (("sound", leaky.MENDED), ("holey", leaky.HOLED)):
        put(home / crate / "Cargo.lock", leaky.lock(version))
    path = production.write("requiring.yml")
    text = path.read_text().replace("vars:\n", "vars:\n  lacks: nothing\n  crate: sound\n", 1)
    text = text.replace("plays:\n", "plays:" + BEFORE.format(home=home, key=KEY.format(home=home)), 1)
    text = text.replace("      interval:", f"      {REQUIRE.format(home=home)}\n      interval:", 1)
    deployed = f"{home}/slot-{{{{ slot.name }}}}.py"
    start = "      - name: Start\n"
    text = text.replace(start, f'      - artifact: {{name: program, dest: "{deployed}"}}\n{start}', 1)
    path.write_text(text.replace(f"{home}/program.py {{{{ slot.name }}}}", f"{deployed} {{{{ slot.name }}}}"))
    return path.name


@pytest.mark.parametrize("production", ["haproxy"], indirect=True)
@pytest.mark.parametrize(
    ("without", "said"),
    [
        ({"lacks": "signature"}, "`program` is not vouched for as `require` asks: nobody has signed the file itself"),
        ({"lacks": "provenance"}, "nobody says where it comes from"),
        ({"lacks": "scan"}, "nobody has scanned `program` in this run"),
        ({"crate": "holey"}, "`program` has a known vulnerability: leaky 1.0.0: RUSTSEC-2026-0001 (medium)"),
    ],
)
def test_what_nobody_vouches_for_is_refused_before_the_dial_leaves_0(
    production: Service, without: dict[str, str], said: str
) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        code, told = finish(production.apply(version, playbook=requiring(production), **without))
    assert code == 4 and said in told, told
    assert {slot for _, slot in production.users.seen} == {before}, "somebody met it"
    assert production.ran(version) == [], "it was deployed"
    assert not [e for e in production.events("dial") if e.data["version"] == version]


@pytest.mark.parametrize("production", ["haproxy"], indirect=True)
def test_what_was_signed_attested_and_scanned_gets_all_traffic(production: Service) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        code, told = finish(production.apply(version, playbook=requiring(production)))
    assert code == 0, told
    after = production.live()
    assert after != before
    assert (production.home / f"slot-{after}.py").read_text().endswith(f"# {version}\n")
