"""easproxy as a process: started with a configuration, watched by its log lines, stopped without a trace."""
import json
import os
import pwd
import re
import signal
import subprocess

import yaml

from .http1 import Reader
from .netns import Netns
from .process import Daemon

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
REPORTS = re.compile(r"ERROR: (Address|Leak|Memory|Thread)Sanitizer|runtime error:|SUMMARY: \w+Sanitizer")


def binary(name="easproxy"):
    """From the environment (EASPROXY, EASENROLL) or the build directory."""
    path = os.environ.get(name.upper()) or os.path.join(ROOT, "build", name)
    if not os.access(path, os.X_OK):
        raise FileNotFoundError("%s is not built: run make, or set %s" % (path, name.upper()))
    return path


def _parse(line):
    try:
        entry = json.loads(line)
        return entry if isinstance(entry, dict) else line
    except ValueError:
        return line


class Proxy:
    """One easproxy with its children. Each line of `log` is a dict, or text where it is no JSON.

    Ready when the constructor returns, unless wait=False. `config` is a dict, or text that is taken as it is.
    """

    def __init__(self, config, place, netns=None, env=None, wait=True, timeout=10.0, program=None):
        self.place, self.netns = str(place), netns or Netns()
        self.path = os.path.join(self.place, "easgate.yaml")
        self.program = program or binary()
        self.write(config)
        self._own_directories(config)
        environment = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
                       "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=0", **(env or {})}
        self.daemon = Daemon([self.program, "-c", self.path], self.netns, environment, _parse)
        self.log = self.daemon.stderr
        self.stopped = False
        if wait:
            try:
                self.wait_event("ready", timeout)
            except BaseException:
                self.kill()
                raise

    def write(self, config):
        """Puts a new configuration into place, for reload()."""
        self.config = config
        part = self.path + ".part"
        with open(part, "w") as f:
            f.write(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))
        os.chmod(part, 0o644)
        os.rename(part, self.path)

    @staticmethod
    def _own_directories(config):
        """State and run directories belong to whom the processes run as, as the package makes them."""
        if isinstance(config, str) or not config.get("user") or os.getuid() != 0:
            return
        entry = pwd.getpwnam(config["user"])
        for key in ("state_dir", "run_dir"):
            os.chown(config[key], entry.pw_uid, entry.pw_gid)

    # log lines

    def mark(self):
        return self.log.mark()

    def wait_event(self, event, timeout=5.0, since=0, **fields):
        """The first log line with this event and these fields, from `since` on. Values may be compiled patterns."""
        return self.log.wait(lambda line: _is(line, event, fields), timeout, since,
                             "event %s %s" % (event, fields or ""))

    def events(self, event, since=0, **fields):
        return self.log.find(lambda line: _is(line, event, fields), since)

    def assert_never(self, *secrets):
        """None of these texts is in any log line."""
        for line in self.log.lines:
            text = line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)
            for secret in secrets:
                assert secret not in text, "logged: %r in %s" % (secret, text)

    def address(self, what="proxy", index=0):
        """Where it listens: "127.0.0.1:PORT"."""
        self.log.wait(lambda _: len(self.events("listening", what=what)) > index, 5, what="listener %s" % what)
        return self.events("listening", what=what)[index]["address"]

    # what it is told

    def reload(self, config=None, timeout=10.0):
        """SIGHUP, with a new configuration if given; returns the line "reloaded" or "reload_failed"."""
        if config is not None:
            self.write(config)
        since = self.mark()
        self.daemon.signal(signal.SIGHUP)
        return self.log.wait(lambda line: _is(line, "reloaded", {}) or _is(line, "reload_failed", {}), timeout, since,
                             "answer to SIGHUP")

    def stop(self, timeout=15.0):
        """SIGTERM; everything must be gone in time, with status 0 and without a sanitizer's report."""
        if self.stopped:
            return
        self.stopped = True
        status = self.daemon.stop(timeout)
        self.assert_clean()
        assert status == 0, "exit status %d:\n%s" % (status, self.log.tail())
        self.daemon.assert_nothing_left()

    def wait_exit(self, timeout=10.0):
        """For a proxy that ends by itself: its exit status."""
        self.stopped = True
        status = self.daemon.wait(timeout)
        self.assert_clean()
        self.daemon.assert_nothing_left()
        return status

    def kill(self):
        self.stopped = True
        self.daemon.kill()

    def assert_clean(self):
        """No report of a sanitizer so far."""
        reports = [line for line in self.log.lines if isinstance(line, str) and REPORTS.search(line)]
        text = [line for line in self.log.lines if isinstance(line, str)]
        assert not reports, "\n".join(text[-80:])

    def children(self):
        """pid -> command line of its processes, without the master."""
        found = {}
        for pid in self.daemon.pids():
            if pid != self.daemon.pid:
                with open("/proc/%d/cmdline" % pid, "rb") as f:
                    found[pid] = f.read().replace(b"\0", b" ").decode().strip()
        return found

    def run(self, *args, timeout=20):
        """The program's other ways, `check` and `status`, with this configuration: the CompletedProcess."""
        return subprocess.run(self.netns.command([self.program, *args, "-c", self.path]), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)

    # the operator's view

    def admin(self, path):
        """GET from the admin listener: the Response."""
        host, _, port = self.address("admin").rpartition(":")
        with self.netns.connect((host, int(port))) as s:
            s.sendall(("GET %s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n" % path).encode())
            return Reader(s.recv).response("GET")

    def metrics(self):
        """{'name{label="x"}': value}"""
        response = self.admin("/metrics")
        assert response.status == 200, response.start
        values = {}
        for line in response.body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values

    def metric(self, name, **labels):
        """The sum of a metric over all series that have these labels."""
        wanted = ['%s="%s"' % item for item in labels.items()]
        return sum(value for series, value in self.metrics().items()
                   if series.partition("{")[0] == name and all(w in series for w in wanted))

    def readyz(self):
        """(status, text)"""
        response = self.admin("/readyz")
        return response.status, response.body.decode()

    def status(self):
        """What `easproxy status` prints."""
        done = self.run("status")
        assert done.returncode == 0, done.stderr
        return done.stdout


def _is(line, event, fields):
    if not isinstance(line, dict) or line.get("event") != event:
        return False
    for name, value in fields.items():
        have = line.get(name)
        if isinstance(value, re.Pattern):
            if not isinstance(have, str) or not value.search(have):
                return False
        elif have != value:
            return False
    return True
