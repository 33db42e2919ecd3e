"""`require:` of a canary: an artifact that was not signed gets nowhere near production."""

from __future__ import annotations

import pytest

from ciflow.diagnostics import Invalid
from tests.engine.playing import Bench, Played
from tests.supply import leaky

KEY = "key: {here}/out/release.pem, passphrase_file: {here}/out/pass, create_key: true"
PLAYS = """
- name: Build
  hosts: localhost
  tasks:
    - copy: {dest: {here}/out/server, content: a program}
  artifacts: [{name: server, path: {here}/out/server}]
- name: Sign
  hosts: localhost
  tasks:
    - {name: Sign it, when: SIGNED, sign: {artifact: server, KEY}}
    - {name: Make a key, when: not SIGNED, sign: {path: {here}/out/server, dest: {here}/out/elsewhere, KEY}}
- name: Roll out
  hosts: localhost
  canary:
    service: shield
    version: "1"
    router: {haproxy: {socket: {here}/no.sock}}
    slots: {a: {port: 1}, b: {port: 2}}
    steps: [5%]
    require: {signed_by: {here}/out/release.pem.pub}
  tasks:
    - artifact: {name: server, dest: {here}/out/deployed}
"""


def played(bench: Bench, *, signed: bool) -> Played:
    text = PLAYS.replace("KEY", KEY).replace("not SIGNED", str(not signed)).replace("SIGNED", str(signed))
    return bench.play(text)


def said(run: Played) -> str:
    return "; ".join(str(event.data["message"]) for event in run.events if event.kind == "error")


def test_an_artifact_without_a_signature_is_refused_before_anything_is_touched(bench: Bench) -> None:
    run = played(bench, signed=False)
    assert run.exit == 4
    assert "nobody vouches for server" in said(run) and "server.sigstore.json" in said(run)
    assert not (bench.out / "deployed").exists()


def test_one_that_was_signed_by_the_key_goes_on_to_the_router(bench: Bench) -> None:
    assert "HAProxy" in said(played(bench, signed=True))


def test_one_that_was_signed_by_another_key_is_refused(bench: Bench) -> None:
    other = KEY.replace("release.pem", "other.pem")
    text = PLAYS.replace("{artifact: server, KEY}", f"{{artifact: server, {other}}}").replace("not SIGNED", "true")
    run = bench.play(text.replace("KEY", KEY).replace("SIGNED", "true"))
    assert "signed by another key" in said(run) and run.exit == 4


def attested(bench: Bench, require: str, *, provenance: bool = True) -> Played:
    wanted = PLAYS.replace("{signed_by: {here}/out/release.pem.pub}", f"{{signed_by: {{here}}/{require}}}")
    task = f"    - attest: {{artifact: server, provenance: true, {KEY.replace(', create_key: true', '')}}}\n"
    text = wanted.replace("- name: Roll out", (task if provenance else "") + "- name: Roll out")
    return bench.play(text.replace("KEY", KEY).replace("not SIGNED", "false").replace("SIGNED", "true"))


def test_an_artifact_that_nobody_says_the_origin_of_is_refused(bench: Bench) -> None:
    run = attested(bench, "out/release.pem.pub, provenance: true", provenance=False)
    assert run.exit == 4 and "nobody says where it comes from" in said(run)
    assert not (bench.out / "deployed").exists()


def test_one_whose_origin_was_attested_goes_on_to_the_router(bench: Bench) -> None:
    assert "HAProxy" in said(attested(bench, "out/release.pem.pub, provenance: true"))


def test_one_that_another_builder_made_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFLOW_BUILDER_ID", "https://ci.example.org/laptop")
    wanted = "out/release.pem.pub, provenance: 'https://ci.example.org/release'"
    assert "it was built by https://ci.example.org/laptop" in said(attested(bench, wanted))
    assert "HAProxy" in said(attested(bench, wanted.replace("release'", "*'")))


def test_a_policy_says_all_of_it(bench: Bench) -> None:
    bench.file("policy.yml", "signers: {release: {key: out/release.pem.pub}}\nrequire: {provenance: {clean: true}}\n")
    run = attested(bench, "policy.yml")
    assert run.exit == 4 and "nobody says that its source was clean" in said(run)


def test_a_faulty_policy_is_shown_at_its_place(bench: Bench) -> None:
    bench.file("policy.yml", "signers: {release: {key: out/release.pem.pub, untill: 2026-01-01}}\n")
    run = attested(bench, "policy.yml")
    (places,) = [event.data["places"] for event in run.events if event.kind == "error"]
    assert run.exit == 4 and places[0].endswith("policy.yml:1:47")


SCAN = """
- name: Scan
  hosts: localhost
  tasks:
    - scan: {chdir: {here}/crate, artifact: server, databases: [{here}/db], fail_on: never}
"""


def scanned(bench: Bench, level: str, *, scan: bool = True) -> Played:
    """A release that has a hole of severity medium (CVSS 5.3)."""
    bench.file("crate/Cargo.lock", leaky.lock(leaky.HOLED))
    bench.file(f"db/{leaky.PLACE}", leaky.ADVISORY)
    text = PLAYS.replace("- name: Roll out", (SCAN if scan else "") + "- name: Roll out")
    text = text.replace("release.pem.pub}", f"release.pem.pub, no_vulnerabilities: {level}}}")
    return bench.play(text.replace("KEY", KEY).replace("not SIGNED", "false").replace("SIGNED", "true"))


def test_an_artifact_with_a_known_hole_gets_no_traffic(bench: Bench) -> None:
    run = scanned(bench, "medium")
    assert run.exit == 4 and "known vulnerability: leaky 1.0.0: RUSTSEC-2026-0001 (medium)" in said(run)
    assert not (bench.out / "deployed").exists()


def test_one_below_the_severity_that_is_asked_for_goes_on(bench: Bench) -> None:
    assert "HAProxy" in said(scanned(bench, "high"))


def test_one_that_nobody_scanned_is_refused(bench: Bench) -> None:
    run = scanned(bench, "critical", scan=False)
    assert run.exit == 4 and "nobody has scanned `server` in this run" in said(run)


def test_a_severity_that_is_none_is_refused_at_its_place(bench: Bench) -> None:
    with pytest.raises(Invalid) as refused:
        scanned(bench, "grave")
    assert [d.code for d in refused.value.diagnostics] == ["CF0104"]
    assert not (bench.out / "server").exists()


DYNAMIC = """
- name: Deploy
  artifact: {name: "{{ slot.what }}", dest: "{here}/out/deployed"}
  when: slot.what != ""
"""


@pytest.mark.parametrize("what", ["server", "other"])
def test_an_artifact_whose_name_only_the_slot_knows_is_deployed_if_it_is_vouched_for(bench: Bench, what: str) -> None:
    bench.file("out/dial", "0\n")
    bench.file("deploy.yml", DYNAMIC)
    command = 'set: echo "$CIFLOW_SHARE" > {here}/out/dial, read: cat {here}/out/dial, dir: {here}/r'
    router = f"router: {{command: {{{command}}}}}"
    text = PLAYS.replace("router: {haproxy: {socket: {here}/no.sock}}", router)
    text = text.replace("steps: [5%]", "steps: [100%]\n    interval: 0.1s\n    bake: 0s")
    text = text.replace("{port: 1}, b: {port: 2}", f"{{port: 1, what: {what}}}, b: {{port: 2, what: {what}}}")
    left = "path: {here}/out/server}"
    text = text.replace(f"{left}]", f"{left}, {{name: other, {left}]")
    text = text.replace("    - artifact: {name: server, dest: {here}/out/deployed}\n", DYNAMIC.replace("\n", "\n    "))
    run = bench.play(text.replace("KEY", KEY).replace("not SIGNED", "false").replace("SIGNED", "true"))
    assert (bench.out / "deployed").exists() is (what == "server"), (said(run), run.ends())
    if what == "other":
        assert "no earlier play left an artifact named 'other' (there are: server)" in run.msg("Deploy")


@pytest.mark.parametrize("signed", [True, False])
def test_what_a_role_deploys_is_known_by_the_variables_it_is_given(bench: Bench, signed: bool) -> None:
    """As the demo's: the role of slots deploys an artifact, or a file, as its variables say."""
    role = 'import_role: {name: slot}\n      vars: {slot_home: "{here}/out", slot_artifact: server}'
    text = PLAYS.replace("artifact: {name: server, dest: {here}/out/deployed}", role).replace("KEY", KEY)
    run = bench.play(text.replace("not SIGNED", str(not signed)).replace("SIGNED", str(signed)))
    assert ("HAProxy" if signed else "nobody vouches for server") in said(run)
