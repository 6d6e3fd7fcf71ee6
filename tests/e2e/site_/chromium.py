"""Chromium without a window, driven over its debugging pipe: no driver and no other package is needed."""
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "End": 35, "Home": 36}


class Chromium:
    """One browser with one page. `resolve`: what host names mean ("MAP enroll.example.com 127.0.0.1:4711")."""

    def __init__(self, place, resolve, width=1280, height=900, netns=None):
        to_read, self.out = os.pipe()
        self.inp, to_write = os.pipe()
        self.downloads = os.path.join(str(place), "downloads")
        argv = [shutil.which("chromium"), "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu",
                "--disable-background-networking", "--disable-component-update", "--ignore-certificate-errors",
                "--host-resolver-rules=" + resolve, "--user-data-dir=" + os.path.join(str(place), "chromium"), "--hide-scrollbars",
                "--disable-dev-shm-usage"] + (["--no-sandbox"] if os.getuid() == 0 else []) + ["about:blank"]

        def plug():
            low, high = os.dup(to_read), os.dup(to_write)
            os.dup2(low, 3)
            os.dup2(high, 4)
        self.process = subprocess.Popen(netns.command(argv) if netns else argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, preexec_fn=plug, pass_fds=(3, 4), start_new_session=True)
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.number, self.session, self.console, self.events = b"", 0, None, [], []
        page = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"][0]
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=self.downloads, eventsEnabled=True)
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.size(width, height)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self.number:
                assert "error" not in got, got
                return got["result"]

    def _next(self):
        while b"\0" not in self.buffer:
            more = os.read(self.inp, 1 << 16)
            assert more, "chromium has ended"
            self.buffer += more
        text, _, self.buffer = self.buffer.partition(b"\0")
        got = json.loads(text)
        if "method" in got:
            self.events.append(got)
        if got.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            self.console.append(json.dumps(got["params"]))
        return got

    def said(self, *methods):
        """What came of these events so far: their parameters."""
        return [e["params"] for e in self.events if e["method"] in methods]

    def faults(self):
        """Exceptions of the page's script, and what its Content-Security-Policy refused."""
        return [line for line in self.console if "Content Security Policy" in line or "exceptionDetails" in line]

    def size(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        """The value of a JavaScript expression; promises are waited for."""
        got = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def wait(self, script, timeout=10):
        end = time.monotonic() + timeout
        while not self.run("!!(%s)" % script):
            assert time.monotonic() < end, "never true: %s\n%s" % (script, self.run("document.body ? document.body.innerText : ''"))
            time.sleep(0.02)

    def insert(self, text):
        """Types where the focus is."""
        self.call("Input.insertText", text=text)

    def type(self, selector, text):
        self.run("document.querySelector(%s).focus()" % json.dumps(selector))
        self.insert(text)

    def click(self, selector):
        """A real click in the middle of it, so that what lies over it or is off the screen is noticed."""
        at = self.run("(() => { const e = document.querySelector(%s); e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
                      "return [r.x + r.width / 2, r.y + r.height / 2, e.contains(document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2))]; })()"
                      % json.dumps(selector))
        assert at[2], "%s cannot be clicked" % selector
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)

    def press(self, key, shift=False):
        for kind in ("keyDown", "keyUp"):
            text = {"Enter": "\r", " ": " "}.get(key) if kind == "keyDown" else None
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code="Space" if key == " " else key, windowsVirtualKeyCode=KEYS[key],
                      modifiers=8 if shift else 0, **({"text": text} if text else {}))

    def downloaded(self, timeout=15):
        """The bytes of the one file that was downloaded, and the name that the server proposed."""
        end = time.monotonic() + timeout
        while not [e for e in self.said("Browser.downloadProgress") if e["state"] == "completed"]:
            assert time.monotonic() < end, "no download has ended"
            self.run("0")           # takes in what has been said
            time.sleep(0.02)
        name, = os.listdir(self.downloads)
        with open(os.path.join(self.downloads, name), "rb") as f:
            return f.read(), name

    def png(self, selector=None):
        clip = {}
        if selector:
            clip = {"clip": dict(self.run("(() => { const r = document.querySelector(%s).getBoundingClientRect(); return {x: r.x + scrollX, y: r.y + scrollY, "
                                          "width: r.width, height: r.height}; })()" % json.dumps(selector)), scale=2), "captureBeyondViewport": True}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **clip)["data"])

    def close(self):
        """Its profile lies in the test's directory: it must be gone before that is removed."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        os.close(self.inp)
        os.close(self.out)
