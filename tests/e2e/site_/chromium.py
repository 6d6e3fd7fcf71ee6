"""Chromium without a window, driven over its debugging pipe: no other package is needed."""
import base64
import json
import os
import shutil
import signal
import subprocess
import time


class Chromium:
    """One browser with one page. `resolve`: what host names mean ("MAP enroll.example.com 127.0.0.1:4711")."""

    def __init__(self, place, resolve, width=1280, height=900, netns=None):
        to_read, self.out = os.pipe()
        self.inp, to_write = os.pipe()
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
        self.buffer, self.number, self.session, self.console = b"", 0, None, []
        page = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"][0]
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")
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
        if got.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            self.console.append(json.dumps(got["params"]))
        return got

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
            time.sleep(0.05)

    def type(self, selector, text):
        self.run("document.querySelector(%s).focus()" % json.dumps(selector))
        self.call("Input.insertText", text=text)

    def press(self, key, code):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}))

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        os.close(self.inp)
        os.close(self.out)
