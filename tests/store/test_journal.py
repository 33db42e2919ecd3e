"""Events are kept in order, whole, and seen by other processes."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ciflow.diagnostics import StoreError
from ciflow.model import Event
from ciflow.store.database import file_system_of, refuse_network
from ciflow.store.place import default_state
from ciflow.store.store import Store


def told(number: int, run: str = "R-1", kind: str = "task_ended") -> Event:
    host = f"web{number}"
    return Event(kind=kind, run=run, at=float(number), play="p", host=host, task="0/1", key="k", data={"n": number})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_what_was_appended_comes_back_as_it_was(store: Store) -> None:
    events = [told(n) for n in range(1, 1001)]
    assert store.append(events[:600]) == 600
    assert store.append(events[600:]) == 1000
    back = list(store.events())
    assert [e.data["n"] for e in back] == list(range(1, 1001))
    assert [e.seq for e in back] == list(range(1, 1001))
    assert (back[0].kind, back[0].run, back[0].at, back[0].play, back[0].host, back[0].task, back[0].key) == (
        "task_ended", "R-1", 1.0, "p", "web1", "0/1", "k",
    )  # fmt: skip


def test_runs_don_t_mix_and_kinds_and_places_select(store: Store) -> None:
    for n in range(60):
        store.append([told(n, f"R-{n % 3}", ("output", "task_ended")[n % 2])])
    assert store.runs() == ["R-0", "R-1", "R-2"]
    assert store.last_run() == "R-2"
    assert [e.data["n"] for e in store.events(run="R-1")] == list(range(1, 60, 3))
    assert [e.data["n"] for e in store.events(run="R-1", kinds=("output",))] == list(range(4, 60, 6))
    assert [e.data["n"] for e in store.events(kinds=("output",), after=50)] == [50, 52, 54, 56, 58]
    assert [e.data["n"] for e in store.events(run="R-0", after=30)] == list(range(30, 60, 3))
    assert list(store.events(run="R-0", after=900)) == list(store.events(run="unknown")) == []


def test_an_event_that_json_cannot_hold_takes_its_whole_transaction_back(store: Store) -> None:
    store.append([told(1)])
    with pytest.raises(StoreError, match="holds what JSON can't"):
        store.append([told(2), Event(kind="output", run="R-1", data={"text": b"bytes"})])
    assert [e.data["n"] for e in store.events()] == [1]
    assert store.append([told(3)]) == 2


def test_bytes_that_are_no_utf8_survive_as_surrogate_escapes(store: Store) -> None:
    text = b"caf\xe9 \xff\x00 \xf0\x9f\x92\xa5".decode("utf-8", "surrogateescape")
    store.append([Event(kind="output", run="R-1", host=text, data={"text": text})])
    back = next(store.events())
    assert back.data["text"].encode("utf-8", "surrogateescape") == b"caf\xe9 \xff\x00 \xf0\x9f\x92\xa5"
    assert back.host == text


def test_another_process_s_command_is_seen_while_one_waits_for_it(store: Store) -> None:
    store.append([told(1)])
    code = (
        "import sys, time; from ciflow.store.place import place_of\n"
        "from ciflow.store.store import Store; from ciflow.model import Event\n"
        "s = Store.open(place_of(sys.argv[1])); time.sleep(0.3)\n"
        "s.append([Event(kind='command', run='R-1', at=time.time(), data={'verb': 'pause'})]); s.close()"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(store.place)])
    assert store.wait(1, timeout=90) == 2
    seen = time.time()
    [event] = store.events(run="R-1", after=1)
    assert (event.kind, event.data) == ("command", {"verb": "pause"})
    assert seen - event.at < 60
    assert other.wait(90) == 0


def test_waiting_for_what_never_comes_ends_in_time(store: Store) -> None:
    began = time.monotonic()
    assert store.wait(0, timeout=0.2) == 0
    assert time.monotonic() - began >= 0.2


def test_two_processes_write_at_once_and_every_event_is_there(store: Store) -> None:
    code = (
        "import sys; from ciflow.store.place import place_of; from ciflow.store.store import Store\n"
        "from ciflow.model import Event\n"
        "s = Store.open(place_of(sys.argv[1]))\n"
        "for n in range(150): s.append([Event(kind='output', run=sys.argv[2], data={'n': n, 'i': i}) for i in (0, 1)])"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(store.place), f"R-{w % 2}"]) for w in range(3)]
    assert [w.wait(180) for w in writers] == [0, 0, 0]
    events = list(store.events())
    assert len(events) == 900
    assert all(a.run == b.run and a.data["n"] == b.data["n"] for a, b in zip(events[::2], events[1::2], strict=True))
    store.check()


def test_reading_goes_on_while_others_write(store: Store, tmp_path: Path) -> None:
    store.append([told(n) for n in range(1000)])
    reader = Store.open(tmp_path / "store", read_only=True)
    events = reader.events(run="R-1")
    first = [next(events) for _ in range(3)]
    store.append([told(n) for n in range(1000, 1010)])
    assert len(first) + len(list(events)) == 1000
    with pytest.raises(StoreError, match="read-only"):
        reader.append([told(1)])


def test_the_folder_is_for_its_owner_only(store: Store) -> None:
    store.append([told(1)])
    store.blobs.put(b"plan")
    store.keys.of("R-1")
    for path in (store.path, *store.path.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_the_default_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("CIFLOW_STATE", raising=False)
    assert default_state() == Path("/home/ada/.local/state/ciflow/store")
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert default_state() == Path("/srv/state/ciflow/store")
    monkeypatch.setenv("CIFLOW_STATE", "/data/ci")
    assert default_state() == Path("/data/ci")


MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
35 21 0:31 / /home rw,relatime shared:9 - nfs4 filer:/home rw,vers=4.2
36 35 254:1 / /home/local rw shared:10 - xfs /dev/vdb rw
37 21 0:32 / /mnt/with\\040blank rw - cifs //srv/x rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/ada/.local/state", "nfs4"), ("/home/local/x", "xfs"), ("/homestead", "ext4"), ("/mnt/with blank", "cifs")],
)
def test_the_file_system_of_a_folder_is_that_of_its_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.replace(" /", f" {tmp_path}/"))
    place = Path(f"{tmp_path}{path}")
    place.mkdir(parents=True)
    assert file_system_of(place / "not" / "yet", mounts)[0] == kind


@pytest.mark.fault(29)
def test_a_store_on_nfs_is_refused_with_the_reason(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"21 1 254:0 / / rw - ext4 /dev/vda rw\n35 21 0:31 / {tmp_path} rw - nfs4 filer:/home rw\n")
    with pytest.raises(StoreError, match=r"is on nfs4 \(mounted at .*two runs could both believe") as refusal:
        refuse_network(tmp_path / "store", mounts)
    assert "CIFLOW_STATE" in refusal.value.help


def test_nothing_to_read_is_said_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no journal in"):
        Store.open(tmp_path / "nowhere", read_only=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_newer_journal_is_left_alone(store: Store) -> None:
    store._database.connection.execute("PRAGMA user_version=99")
    store.close()
    with pytest.raises(StoreError, match="has version 99; this ciflow knows up to 1"):
        Store.open(store.path)
