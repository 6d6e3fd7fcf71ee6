"""A server process under test: its output as lines one can wait for, and proof that nothing of it is left."""
import os
import select
import signal
import subprocess
import threading
import time
import uuid


class LineLog:
    """Lines that a thread reads from a stream; `wait` sleeps until one arrives that fits."""

    def __init__(self, stream, parse=lambda line: line):
        self.lines = []
        self.ended = False
        self._parse = parse
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream):
        with stream:
            for raw in stream:
                line = self._parse(raw.decode("utf-8", "replace").rstrip("\n"))
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def mark(self):
        """The place to give as `since`, so that only later lines count."""
        with self._changed:
            return len(self.lines)

    def wait(self, fits, timeout=5.0, since=0, what="a line"):
        """The first line from `since` on for which fits(line); AssertionError with the tail otherwise."""
        deadline = time.monotonic() + timeout
        at = since
        with self._changed:
            while True:
                while at < len(self.lines):
                    if fits(self.lines[at]):
                        return self.lines[at]
                    at += 1
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    why = "the output ended" if self.ended else "%.1f s passed" % timeout
                    raise AssertionError("no %s: %s; last lines:\n%s" % (what, why, self.tail()))
                self._changed.wait(left)

    def find(self, fits, since=0):
        with self._changed:
            return [line for line in self.lines[since:] if fits(line)]

    def tail(self, count=25):
        return "\n".join(str(line) for line in self.lines[-count:])

    def join(self, timeout=2.0):
        self._thread.join(timeout)


def follow(path):
    """A LineLog of a file that another process writes, from its start. Returns (log, close)."""
    tail = subprocess.Popen(with_parent(["tail", "-n", "+1", "-F", path]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def close():
        tail.kill()
        tail.wait()

    return LineLog(tail.stdout), close


def wait_until(holds, timeout, every=0.05):
    """For what no event tells, such as another server's recovery: asks until holds(); returns the seconds it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < timeout, "not within %.1f s" % timeout
        time.sleep(every)
    return time.monotonic() - began


def with_parent(argv):
    """The command line that runs `argv` until it ends or who started it does. By a program and no preexec_fn, for which all of this process's
    memory would be marked to be copied: 40 ms of processor time instead of 5."""
    return ["setpriv", "--pdeathsig", "KILL", *argv]


def pids_with(mark):
    """Every process whose environment holds `mark` (NAME=value), zombies left out."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as f:
                if mark.encode() in f.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            continue
    return found


def _wait_end(pid, seconds):
    """Waits until a process that need not be our child has ended, or the time is over."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([ended], [], [], max(0, seconds))
    os.close(ended)


class Daemon:
    """A process with a mark in its environment, in a session of its own.

    `stderr` and `stdout` are LineLogs. After stop() or kill() nothing that it started may be left.
    """

    def __init__(self, argv, netns=None, env=None, parse=lambda line: line, cwd=None):
        self.mark = "EASGATE_TEST_PROCESS=" + uuid.uuid4().hex
        environment = dict(os.environ, **(env or {}))
        environment.update([self.mark.split("=")])
        self.argv = list(argv)
        self.popen = subprocess.Popen(with_parent(netns.command(argv) if netns else argv), env=environment, cwd=cwd,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        self.stderr = LineLog(self.popen.stderr, parse)
        self.stdout = LineLog(self.popen.stdout)

    @property
    def pid(self):
        return self.popen.pid

    @property
    def running(self):
        return self.popen.poll() is None

    def pids(self):
        """All of its processes: by the mark, and by the session for those that cleared their environment."""
        found = set(pids_with(self.mark))
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/stat" % pid) as f:
                    fields = f.read().rpartition(")")[2].split()
                if int(fields[3]) == self.pid and fields[0] != "Z":
                    found.add(int(pid))
            except OSError:
                continue
        return sorted(found)

    def signal(self, number):
        self.popen.send_signal(number)

    def wait(self, timeout):
        """The exit status. What is left after `timeout` seconds is killed, and that is an AssertionError."""
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("%s still ran %.0f s after it was told to stop:\n%s"
                                 % (self.argv[0], timeout, self.stderr.tail())) from None
        self.stderr.join()
        self.stdout.join()
        return status

    def stop(self, timeout=10.0):
        if self.running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait()

    def assert_nothing_left(self):
        """Children of a dead master get a moment to notice; then they are a fault, and are killed."""
        deadline = time.monotonic() + 2.0
        for pid in self.pids():
            _wait_end(pid, deadline - time.monotonic())
        if left := self.pids():
            lines = [open("/proc/%d/cmdline" % pid, "rb").read().replace(b"\0", b" ") for pid in left]
            self.kill()
            raise AssertionError("left behind by %s: %s" % (self.argv[0], lines))
