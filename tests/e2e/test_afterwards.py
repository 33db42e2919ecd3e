"""What is left to do when a release has ended: the old slot retires by itself, unless somebody went back to it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tests.e2e.service import Service, finish
from tests.parts.process import wait_for

RETIRE = """
    retire:
      - name: Stop the old one
        process: {{name: "shield-{{{{ slot.name }}}}", state: stopped}}
      - name: Write it down
        command: touch {home}/retired-{{{{ slot.name }}}}-{{{{ release.version }}}}
"""


def answers(port: int) -> bool:
    with socket.socket() as made:
        made.settimeout(1.0)
        return made.connect_ex(("127.0.0.1", port)) == 0


def retired(production: Service, slot: str) -> list[Path]:
    return list(production.home.glob(f"retired-{slot}-*"))


def retiring(production: Service, keep_warm: str, **changes: str) -> str:
    path = production.write("retiring.yml")
    text = path.read_text().replace("keep_warm: 10m", f"keep_warm: {keep_warm}")
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text + RETIRE.format(home=production.home))
    return path.name


def test_the_old_slot_retires_by_itself_and_a_rollback_deploys_it_again(production: Service) -> None:
    version, before = production.next(), production.live()
    playbook = retiring(production, "2s")
    with production.no_request_fails():
        code, said = finish(production.apply(version, playbook=playbook))
        assert code == 0, said
        warm = answers(production.slots[before])
        assert warm or retired(production, before), "it is kept warm"
        wait_for(lambda: retired(production, before), "the slot is retired")
        assert not answers(production.slots[before])
    lost = production.home / "another-journal"  # which knows nothing of how it was deployed
    code, said = production.ciflow("rollback", "shield", state=lost)
    assert code == 4 and "no longer kept warm" in said, said
    code, said = production.ciflow("rollback", "shield", "--break-glass", "--reason", "try", state=lost)
    assert code == 4 and "nothing answers" in said, said
    assert production.live() != before
    with production.no_request_fails():
        code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "deploying it again" in said, said
    assert production.live() == before
    code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "nothing to do" in said, "a second call goes back to nothing"


def test_a_slot_that_somebody_went_back_to_is_not_retired(production: Service) -> None:
    version, before = production.next(), production.live()
    playbook = retiring(production, "8s")
    for gone in production.home.glob("retired-*"):
        gone.unlink()
    with production.no_request_fails():
        code, said = finish(production.apply(version, playbook=playbook))
        assert code == 0, said
        code, said = production.ciflow("rollback", "shield")
        assert code == 0, said
        time.sleep(9)
        assert not list(production.home.glob("retired-*"))
    assert production.live() == before


def test_a_rollback_across_what_can_not_be_undone_needs_more(production: Service) -> None:
    version, before = production.next(), production.live()
    playbook = retiring(production, "10m", **{"- name: Deploy\n": "- name: Deploy\n        irreversible: true\n"})
    code, said = production.ciflow("plan", str(production.home / playbook), "-e", f"version={version}")
    assert "Deploy (shell) can't be undone" in said, said
    code, said = finish(production.apply(version, playbook=playbook))
    assert code == 0 and "can't be undone once it has run: Deploy" in said, said
    code, said = production.ciflow("rollback", "shield")
    assert code == 4 and "`Deploy`, which can't be undone" in said, said
    code, said = production.ciflow("rollback", "shield", "--break-glass")
    assert code == 3 and "--reason" in said, said
    code, said = production.ciflow("rollback", "shield", "--break-glass", "--reason", "the old one can read it")
    assert code == 0, said
    assert production.live() == before


def test_a_task_that_needs_an_answer_can_not_retire_a_slot(production: Service) -> None:
    path = production.write("asking.yml")
    path.write_text(path.read_text() + "    retire:\n      - service: {name: shield, state: stopped}\n")
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version, playbook="asking.yml"))
    assert code == 4 and "`service` has no place in `retire`" in said and "asking.yml:" in said, said
    assert production.ran(version) == [], "said before anything is touched"
    assert production.live() == before
