"""A team's journal in PostgreSQL keeps every promise of the one on this machine, and those of a server."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciflow.diagnostics import StoreError
from ciflow.store import postgres as postgres_store
from ciflow.store.place import Team, place_of
from ciflow.store.store import Store
from tests.parts.postgres import Postgres, postgres
from tests.parts.process import short_folder
from tests.store.test_journal import (  # noqa: F401
    test_an_event_that_json_cannot_hold_takes_its_whole_transaction_back,
    test_bytes_that_are_no_utf8_survive_as_surrogate_escapes,
    test_runs_don_t_mix_and_kinds_and_places_select,
    test_two_processes_write_at_once_and_every_event_is_there,
    test_what_was_appended_comes_back_as_it_was,
    told,
)
from tests.store.test_locks import (  # noqa: F401
    other,
    test_a_clock_that_jumps_an_hour_takes_no_lock,
    test_a_flipped_token_is_never_read,
    test_a_holder_stopped_past_its_term_can_write_nothing_when_it_goes_on,
    test_a_rollback_takes_a_live_lock_and_says_from_whom,
    test_after_kill_9_on_this_machine_the_lock_is_taken_at_once,
    test_of_two_processes_exactly_one_wins_two_hundred_times,
    test_on_another_machine_a_counter_that_moves_is_life,
    test_on_another_machine_a_counter_that_stands_still_for_a_term_is_death,
    test_the_loser_hears_who_since_when_and_how_to_break_it,
    test_tokens_only_grow_over_scopes_releases_floors_and_reopening,
    test_whoever_waits_gets_the_lock_when_it_is_given_back,
)


@pytest.fixture
def place(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """A new database; what stays on this machine stays in the test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = place_of(postgres.database())
    assert isinstance(found, Team)
    return found


@pytest.fixture
def store(place: Team) -> Iterator[Store]:
    with Store.open(place) as store:
        yield store


def test_a_blob_put_on_one_machine_is_had_on_another(
    store: Store, place: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = b"0123456789abcdef" * 600_000
    digests = [store.blobs.put(large), store.blobs.put(b""), store.blobs.put(large)]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    with Store.open(place) as there:
        assert [there.blobs.get(digest) for digest in digests] == [large, b"", large]
        with pytest.raises(StoreError, match="no readable blob"):
            there.blobs.get("0" * 64)


def test_a_lost_row_is_missed(store: Store, postgres: Postgres, place: Team) -> None:
    store.append([told(n) for n in range(10)])
    postgres.say("DELETE FROM ciflow.events WHERE seq = 5", place.url.rpartition("/")[2])
    with pytest.raises(StoreError, match="events are missing before number 6"):
        list(store.events())


def test_a_server_that_restarts_between_two_writes_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with short_folder("pg") as folder, postgres(folder) as server, Store.open(place_of(server.database())) as store:
        store.append([told(1)])
        server.stop()
        again = threading.Thread(target=lambda: (time.sleep(1), server.start_again()))
        again.start()
        assert store.append([told(2)]) == 2
        assert [event.data["n"] for event in store.events()] == [1, 2]
        again.join()


def test_a_server_that_is_not_there_is_said_in_plain_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(StoreError, match="can't be reached") as refusal:
        Store.open(place_of("postgresql://nobody@127.0.0.1:9/ciflow"))
    assert "psql" in refusal.value.help


@pytest.mark.parametrize("url", ["postgresql://ada:hush@db/ciflow", "postgres://db/ciflow?password=hush"])
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(StoreError, match="holds a password") as refusal:
        place_of(url)
    assert "hush" not in f"{refusal.value.message}{refusal.value.help}"
    assert ".pgpass" in refusal.value.help


def test_a_role_that_may_not_make_its_tables_hears_what_it_needs(postgres: Postgres, place: Team) -> None:
    postgres.say("DO $$ BEGIN CREATE ROLE clerk LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    with pytest.raises(StoreError, match="permission denied") as refusal:
        Store.open(place_of(place.url.replace("postgres@", "clerk@")))
    assert "schema `ciflow`" in refusal.value.help


def test_a_newer_journal_is_left_alone(postgres: Postgres, place: Team) -> None:
    Store.open(place).close()
    postgres.say("UPDATE ciflow.version SET number = 99", place.url.rpartition("/")[2])
    with pytest.raises(StoreError, match="version 99"):
        Store.open(place)


def test_nothing_is_made_by_who_only_reads(place: Team) -> None:
    with pytest.raises(StoreError, match="there is no journal"):
        Store.open(place, read_only=True)


def test_of_two_first_starts_both_find_one_journal(place: Team) -> None:
    code = (
        "import sys; from ciflow.store.place import place_of; from ciflow.store.store import Store\n"
        "from ciflow.model import Event\n"
        "Store.open(place_of(sys.argv[1])).append([Event(kind='output', run='R-1')])"
    )
    starts = [subprocess.Popen([sys.executable, "-c", code, place.url]) for _ in range(3)]
    assert [start.wait(180) for start in starts] == [0, 0, 0]
    with Store.open(place) as store:
        assert store.last == 3


STOPPED_WITHIN = """
import sys, time
from ciflow.store import postgres
from ciflow.store.place import place_of
from ciflow.store.store import Store
postgres.ABANDONED = 1
store = Store.open(place_of(sys.argv[1]))
with store._database.writing():
    print("within", flush=True)
    sys.stdin.read()
"""


def test_a_writer_stopped_in_the_middle_of_a_write_holds_up_nobody_for_long(store: Store, place: Team) -> None:
    """A laptop that was closed, a machine that was cut off: its server would keep the lock for hours."""
    pipe = subprocess.PIPE
    stopped = subprocess.Popen([sys.executable, "-c", STOPPED_WITHIN, place.url], stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        assert stopped.stdout and stopped.stdout.readline() == b"within\n"
        stopped.send_signal(signal.SIGSTOP)
        assert store.append([told(1)]) == 1
        stopped.send_signal(signal.SIGCONT)
        _, said = stopped.communicate(b"", timeout=60)
        assert stopped.returncode and b"StoreError" in said, said
        assert store.last == 1
    finally:
        stopped.kill()
        stopped.communicate()


def test_whoever_waits_too_long_for_another_writer_is_told_so(
    store: Store, place: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_store, "BUSY", 1)
    with Store.open(place) as waiting, store._database.writing():
        with pytest.raises(StoreError, match=r"has kept the journal .* busy for 1 s") as refusal:
            waiting.append([told(1)])
        assert "pg_stat_activity" in refusal.value.help
        with pytest.raises(StoreError, match="busy"):
            waiting.append([told(1)])  # nothing is left open of the first try
    assert store.append([told(1)]) == 1
