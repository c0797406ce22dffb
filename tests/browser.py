"""A headless Chromium, driven through a pipe by the DevTools protocol without any other package."""

import base64
import fcntl
import itertools
import json
import os
import shutil
from pathlib import Path

PLACES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next(filter(None, map(shutil.which, PLACES)), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
]


class Browser:
    """One page of a browser that has no network."""

    def __init__(self, folder):
        requests, self._out = os.pipe()
        self._in, answers = os.pipe()
        self.folder = Path(folder)
        self._numbers, self._waiting, self._events = itertools.count(1), b"", []
        # The browser reads from descriptor 3 and writes to 4, which none of the pipe's ends may be on the way there.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (requests, answers)]
        actions = [(os.POSIX_SPAWN_DUP2, end, place) for place, end in enumerate(ends, start=3)]
        actions += [(os.POSIX_SPAWN_OPEN, place, os.devnull, os.O_WRONLY, 0) for place in (1, 2)]
        command = [FOUND, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={self.folder / 'profile'}"]
        self._process = os.posix_spawn(FOUND, command, os.environ, file_actions=actions)
        for end in (requests, answers, *ends):
            os.close(end)
        self._session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)

    def send(self, method, **parameters):
        """Call a method, and return its result; events that arrive before it are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session and not method.startswith("Browser."):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._events.append(answer)

    def _receive(self):
        while b"\0" not in self._waiting:
            read = os.read(self._in, 2**20)
            assert read, "the browser has ended"
            self._waiting += read
        message, _, self._waiting = self._waiting.partition(b"\0")
        return json.loads(message)

    def event(self, method):
        """Wait for the first event of a method, and return its parameters."""
        while not (found := [event for event in self._events if event["method"] == method]):
            self._events.append(self._receive())
        return found[0]["params"]

    def events(self, *methods):
        """Return the parameters of the events received so far from some methods."""
        return [event["params"] for event in self._events if event["method"] in methods]

    def open(self, path, width=1200, height=900, dark=False):
        """Load a page at a size, light or dark."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self._events.clear()
        self.send("Page.navigate", url=Path(path).as_uri())
        self.event("Page.loadEventFired")

    def run(self, code):
        """Return the value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key, **more):
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, **more)

    def picture(self, path):
        """Save all of the page as a PNG."""
        content = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        Path(path).write_bytes(base64.b64decode(content))

    def close(self):
        """End the browser."""
        self.send("Browser.close")
        os.waitpid(self._process, 0)
        os.close(self._out)
        os.close(self._in)
