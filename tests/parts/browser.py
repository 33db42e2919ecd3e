"""A real browser: Chromium without a screen, driven as W3C's WebDriver says (https://www.w3.org/TR/webdriver2/)."""

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts import process
from tests.parts.http import get

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name that the specification gives to a reference
_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
PHONE = (390, 844)  # CSS pixels
PATIENCE = 60.0  # seconds for one command


@dataclass(frozen=True)
class Browser:
    """One window of a profile of its own. Elements are found by CSS selectors."""

    session: str

    def go(self, url: str) -> None:
        self._say("POST", "/url", {"url": url})

    def text(self, selector: str) -> str:
        """As a person sees it; "" where there is none, or it has just been replaced."""
        script = "const one = document.querySelector(arguments[0]); return one ? one.innerText : ''"
        return str(self.run(script, selector))

    def tap(self, selector: str) -> None:
        """As a finger does: where it is on the screen, whatever lies over it. One that is replaced just then is looked
        for again."""
        process.wait_for(lambda: self._tapped(selector), f"{selector} to tap", told=lambda: self.text("body"))

    def _tapped(self, selector: str) -> bool:
        try:
            found = self._say("POST", "/element", {"using": "css selector", "value": selector})
            self._say("POST", f"/element/{found[_ELEMENT]}/click", {})
        except AssertionError as refused:
            if "stale element" not in str(refused) and "no such element" not in str(refused):
                raise
            return False
        return True

    def press(self, key: str) -> None:
        """One key, where the focus is."""
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._say("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def run(self, script: str, *arguments: Any) -> Any:
        """The body of a function, run by the driver: no policy of the page holds it back."""
        return self._say("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def sees(self, selector: str, text: str) -> str:
        """Wait until that text stands there."""
        return process.wait_for(
            lambda: found if text in (found := self.text(selector)) else None,
            f"{text!r} in {selector}", told=lambda: self.text("body"),
        )  # fmt: skip

    def picture(self, file: Path) -> None:
        import base64

        file.write_bytes(base64.b64decode(self._say("GET", "/screenshot")))

    def complaints(self) -> list[str]:
        """What the page's console says is wrong, such as what its policy has stopped."""
        return [one["message"] for one in self._say("POST", "/se/log", {"type": "browser"})]

    def _say(self, method: str, path: str, said: Mapping[str, Any] | None = None) -> Any:
        return _asked(method, f"{self.session}{path}", said)


def _asked(method: str, url: str, said: Mapping[str, Any] | None) -> Any:
    body = None if said is None else json.dumps(said).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"{method} {url}: {refused.read().decode(errors='replace')[:2000]}") from None


@contextlib.contextmanager
def browser(folder: Path, *, scripts: bool = True, dark: bool = False) -> Iterator[Browser]:
    """As big as a phone. Raises MissingPart where there is none, or where it does not start."""
    folder.mkdir(parents=True, exist_ok=True)
    port, program = process.free_port(), process.find("chromium", "browser")
    argv = [process.find("chromedriver", "browser"), f"--port={port}"]
    with process.run("chromedriver", argv, folder, lambda: get(f"http://127.0.0.1:{port}/status").status == 200) as one:
        args = [*_QUIET, f"--user-data-dir={folder / 'profile'}"]
        args += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
        prefs = {} if scripts else {"profile.managed_default_content_settings.javascript": 2}
        screen = {"width": PHONE[0], "height": PHONE[1], "pixelRatio": 2.0, "mobile": True, "touch": True}
        options = {"binary": program, "args": args, "prefs": prefs, "mobileEmulation": {"deviceMetrics": screen}}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        try:
            made = _asked("POST", f"http://127.0.0.1:{port}/session", {"capabilities": {"alwaysMatch": wanted}})
        except (AssertionError, OSError) as refused:
            raise process.MissingPart(f"chromium does not start here: {refused}\n{one.said()}") from None
        found = Browser(f"http://127.0.0.1:{port}/session/{made['sessionId']}")
        try:
            yield found
        finally:
            _asked("DELETE", found.session, None)
