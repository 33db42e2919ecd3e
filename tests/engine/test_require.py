"""`require:` of a canary: an artifact that was not signed gets nowhere near production."""

from __future__ import annotations

import pytest

from ciflow.diagnostics import Invalid
from tests.engine.playing import Bench, Played

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
    assert "`server` can't be checked" in said(run) and "server.sigstore.json" in said(run)
    assert not (bench.out / "deployed").exists()


def test_one_that_was_signed_by_the_key_goes_on_to_the_router(bench: Bench) -> None:
    assert "HAProxy" in said(played(bench, signed=True))


def test_one_that_was_signed_by_another_key_is_refused(bench: Bench) -> None:
    other = KEY.replace("release.pem", "other.pem")
    text = PLAYS.replace("{artifact: server, KEY}", f"{{artifact: server, {other}}}").replace("not SIGNED", "true")
    run = bench.play(text.replace("KEY", KEY).replace("SIGNED", "true"))
    assert "signed by another key" in said(run) and run.exit == 4


@pytest.mark.parametrize("word", ["provenance: true", "no_vulnerabilities: high"])
def test_what_can_not_be_checked_yet_is_refused_at_its_place(bench: Bench, word: str) -> None:
    text = PLAYS.replace("release.pem.pub}", f"release.pem.pub, {word}}}").replace("KEY", KEY).replace("SIGNED", "true")
    with pytest.raises(Invalid) as refused:
        bench.play(text)
    assert [d.code for d in refused.value.diagnostics] == ["CF0123"]
    assert not (bench.out / "server").exists()
