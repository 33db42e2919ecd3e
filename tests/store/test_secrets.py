"""Secrets leave no trace in what people and files get, and sealed replies open only where they belong."""

from __future__ import annotations

import base64
import html
import json
import random
import shlex
import string
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest

from ciflow.diagnostics import StoreError
from ciflow.store.mask import STARS, Mask
from ciflow.store.store import Store

ALPHABET = string.ascii_letters + string.digits + "!\"#$%&'()*+,-./:;<=>?@[]^_{|}~\\ äß漢"
Known = tuple[Mask, list[str]]
FORMS: dict[str, Callable[[str], str]] = {
    "raw": lambda s: s,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 after `user:`": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "base64 between": lambda s: base64.b64encode(f"x={s}&y".encode()).decode(),
    "url-safe base64": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "URL": lambda s: urllib.parse.quote(s, safe=""),
    "URL query": lambda s: urllib.parse.quote_plus(s),
    "JSON": lambda s: json.dumps({"password": s}),
    "JSON not ASCII": lambda s: json.dumps({"password": s}, ensure_ascii=False),
    "JSON in JSON": lambda s: json.dumps(json.dumps(s)),
    "hex": lambda s: s.encode().hex(),
    "HTML": html.escape,
    "shell": shlex.quote,
    "repr": repr,
    "other newlines": lambda s: s.replace("\n", "\r\n"),
}


def secrets(count: int, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    plain = ["".join(draw.choices(ALPHABET, k=draw.randint(8, 40))).strip() + "Q" for _ in range(count)]
    for at in range(0, count, 10):  # every tenth has several lines
        plain[at] = "\n".join("".join(draw.choices(string.ascii_letters, k=30)) for _ in range(4)) + "\n"
    return plain


def traces(secret: str) -> list[bytes]:
    """What must not be found: the secret, its lines, and the middle of its base64 at every place in a group."""
    found = [secret.encode(), *(line.encode() for line in secret.splitlines()), secret.encode().hex().encode()]
    return found + [base64.b64encode(bytes(n) + secret.encode())[4:-4] for n in range(3)]


@pytest.fixture(scope="module")
def five_hundred() -> Known:
    values = secrets(500)
    mask = Mask()
    assert all(mask.add(value) for value in values)
    return mask, values


def test_five_hundred_secrets_are_masked_in_every_form_over_every_chunking(five_hundred: Known) -> None:
    mask, values = five_hundred
    draw = random.Random(2)
    for value in values:
        name, form = draw.choice(list(FORMS.items()))
        content = f"before {form(value)} after\n".encode()
        stream, shown = mask.stream(), b""
        at = 0
        while at < len(content):
            step = draw.choice((1, 2, 3, 7, 50))
            shown += stream.feed(content[at : at + step])
            at += step
        shown += stream.close()
        assert shown.startswith(b"before ") and shown.endswith(b" after\n"), (name, shown)
        assert not any(trace in shown for trace in traces(value)), (name, value, shown)
        assert STARS in shown
        assert shown == mask.raw(content), (name, value)


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_masked_for_fifty_secrets(name: str, five_hundred: Known) -> None:
    mask, values = five_hundred
    for value in values[:50]:
        shown = mask.text(f"[{FORMS[name](value)}]")
        assert shown[0] == "[" and shown[-1] == "]" and "*" in shown
        assert not any(trace in shown.encode() for trace in traces(value)), (value, shown)


@pytest.mark.parametrize("width", [64, 76])
def test_a_key_printed_as_wrapped_base64_is_masked(width: int) -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "\n".join("k3Y" * 20 + str(n) for n in range(8)) + "\n"
    mask = Mask()
    mask.add(key)
    whole = base64.b64encode(key.encode()).decode()
    wrapped = "\n".join(whole[i : i + width] for i in range(0, len(whole), width))
    assert mask.text(wrapped).replace("*", "").replace("\n", "").strip("=") == ""


def test_what_is_no_secret_is_left_as_it_was(five_hundred: Known) -> None:
    mask, _ = five_hundred
    draw = random.Random(3)
    for _ in range(200):
        text = " ".join("".join(draw.choices(string.ascii_lowercase, k=6)) for _ in range(20))
        assert mask.text(text) == text
    raw = bytes(range(256)) * 4
    assert mask.raw(raw) == raw


def test_a_stream_shows_at_once_what_cannot_become_a_secret() -> None:
    mask = Mask()
    mask.add("hunter2-hunter2")
    stream = mask.stream()
    assert stream.feed(b"Compiling shield\n") == b"Compiling shield\n"
    assert stream.feed(b"token hunter2") == b"token "
    assert stream.feed(b"-hunter3") == b"hunter2-hunter3"
    assert stream.feed(b"hunter2-hunt") == b""
    assert stream.feed(b"er2\n") == STARS + b"\n"
    assert stream.close() == b""


def test_secrets_that_overlap_or_contain_one_another_leave_no_rest() -> None:
    mask = Mask()
    for value in ("abcd", "abcdefgh", "ghij-tail"):
        mask.add(value)
    assert mask.text("<abcdefghij-tail>") == "<********>"
    stream = mask.stream()
    assert b"".join([*(stream.feed(bytes([c])) for c in b"<abcdefghij-tail>"), stream.close()]) == b"<********>"


def test_a_secret_learned_later_is_masked_from_then_on_in_whole_values() -> None:
    mask = Mask()
    assert mask.value({"a": ["s3cr3t", 1, None]}) == {"a": ["s3cr3t", 1, None]}
    mask.add("s3cr3t")
    assert mask.value({"key s3cr3t": ["s3cr3t", 1, {"b": "x s3cr3t y"}]}) == {
        "key ********": ["********", 1, {"b": "x ******** y"}]
    }


def test_too_short_a_secret_is_said_to_be_too_short() -> None:
    mask = Mask()
    assert not mask.add("42")
    assert mask.add("421")
    assert mask.text("42 421") == "42 ********"


def test_masking_a_megabyte_is_no_matter_with_five_hundred_secrets(five_hundred: Known) -> None:
    mask, values = five_hundred
    content = (b"   Compiling serde v1.0.193 (/home/ci/.cargo/registry)\n" * 20_000)[:1_000_000] + values[3].encode()
    stream = mask.stream()
    began = time.process_time()
    shown = b"".join(stream.feed(content[at : at + 65_536]) for at in range(0, len(content), 65_536)) + stream.close()
    took = time.process_time() - began
    assert values[3].encode() not in shown
    print(f"{took:.2f} s")
    assert took < 60


# --- sealing ------------------------------------------------------------------------------------------------


def test_a_sealed_reply_opens_only_for_its_run_and_its_place(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        sealed = store.keys.of("R-1").seal(b"password=hunter2", "R-1/p/web1/0#1")
        assert b"hunter2" not in base64.b64decode(sealed)
        assert store.keys.existing("R-1").open(sealed, "R-1/p/web1/0#1") == b"password=hunter2"
        assert sealed != store.keys.of("R-1").seal(b"password=hunter2", "R-1/p/web1/0#1")
        for seal, place in ((store.keys.of("R-1"), "R-1/p/web2/0#1"), (store.keys.of("R-2"), "R-1/p/web1/0#1")):
            with pytest.raises(StoreError, match="changed or moved"):
                seal.open(sealed, place)
        changed = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]
        with pytest.raises(StoreError, match="changed or moved"):
            store.keys.of("R-1").open(changed, "R-1/p/web1/0#1")


def test_when_the_run_has_ended_nobody_can_open_its_replies(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.keys.of("R-1")
        assert list((tmp_path / "store" / "keys").iterdir())
        (tmp_path / "store" / "keys" / ".R-1.key-4711").write_bytes(b"k" * 32)  # of who was killed while making it
        store.keys.of("R-10")
        store.keys.forget("R-10")
        assert len(list((tmp_path / "store" / "keys").iterdir())) == 2
        store.keys.forget("R-1")
        assert not list((tmp_path / "store" / "keys").iterdir())
        with pytest.raises(StoreError, match="the key of run R-1 is gone"):
            store.keys.existing("R-1")


@pytest.mark.parametrize("run", ["../x", "", "a/b", ".hidden", "x" * 300])
def test_a_run_s_name_cannot_lead_out_of_the_folder_of_keys(tmp_path: Path, run: str) -> None:
    with Store.open(tmp_path / "store") as store, pytest.raises(ValueError, match="not a run id"):
        store.keys.of(run)
