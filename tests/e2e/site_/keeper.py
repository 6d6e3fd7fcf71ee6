#!/usr/bin/python3
"""The keeper of the servers that a whole test run shares: starts each at the first request, ends all of them.

usage: keeper.py DIR       (by conftest.py; DIR is the run's directory, removed at the end)

One process for a run, however many xdist workers there are. It ends when its standard input does, so that
servers go away even if the test run is killed. Requests come over DIR/keeper.sock, one JSON line each:
{"what": "ad" | "eas", "name": NAME, "env": {...}} is answered by {"dir": ...} or {"error": ...}.
Being subreaper, it also collects the daemons' exit statuses, so that no zombie stays.
"""
import ctypes
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys

SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "site")
CACHE = os.path.join(SITE, "..", "..", "build", "site")
PROGRAMS = {"ad": os.path.join(SITE, "ad-testbed"), "eas": os.path.join(SITE, "eas-server")}
END = {"ad": "kill", "eas": "down"}
PR_SET_CHILD_SUBREAPER = 36


def ask(directory, what, name, env=None):
    """For the tests: the directory of server NAME, started if it does not run yet."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(120)
        s.connect(os.path.join(directory, "keeper.sock"))
        s.sendall(json.dumps({"what": what, "name": name, "env": env or {}}).encode() + b"\n")
        answer = json.loads(s.makefile().readline())
    if "error" in answer:
        raise RuntimeError("%s %s: %s" % (what, name, answer["error"]))
    return answer["dir"]


class Keeper:
    def __init__(self, directory):
        self.directory = directory
        self.started = {}                       # name -> what, in the order of starting
        self.failed = {}                        # name -> the error; not tried again
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(directory, "keeper.sock"))
        self.listener.listen(64)

    def start(self, what, name, env):
        place = os.path.join(self.directory, name)
        if name in self.failed:
            return {"error": self.failed[name]}
        if name in self.started:
            return {"dir": place}
        environment = dict(os.environ, **env)
        if what == "ad":
            environment.setdefault("AD_SEED", self.seed() or "")
        self.started[name] = what
        with open(place + ".log", "wb") as log:
            done = subprocess.run([PROGRAMS[what], "up", place], env=environment, stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log)
        if done.returncode != 0:
            with open(place + ".log") as log:
                self.failed[name] = log.read()[-2000:] or "exit status %d" % done.returncode
            return {"error": self.failed[name]}
        if what == "ad":
            self.save_seed(place)
        return {"dir": place}

    def seed(self):
        """A domain made by an earlier run from the same recipe; making one takes 5 s, copying 0.2 s."""
        if os.environ.get("EASGATE_AD_CACHE") == "0":
            return None
        path = self.seed_path()
        return path if os.path.isdir(path) else None

    def seed_path(self):
        recipe = hashlib.sha256(subprocess.run(["samba", "--version"], capture_output=True).stdout)
        for name in ("ad-testbed", "ad-config.sh", "ad-populate.py"):
            with open(os.path.join(SITE, name), "rb") as f:
                recipe.update(f.read())
        return os.path.abspath(os.path.join(CACHE, "ad-" + recipe.hexdigest()[:16]))

    def save_seed(self, place):
        path = self.seed_path()
        if os.environ.get("EASGATE_AD_CACHE") == "0" or os.path.isdir(path):
            return
        part = "%s.%d" % (path, os.getpid())
        os.makedirs(part, mode=0o700)
        for name in ("samba.fresh", "keytabs"):
            subprocess.run(["cp", "-a", os.path.join(place, name), part], check=True)
        try:
            os.rename(part, path)
        except OSError:                         # another run was first
            shutil.rmtree(part)

    def serve(self, connection):
        with connection:
            try:
                request = json.loads(connection.makefile().readline())
                answer = self.start(request["what"], request["name"], request["env"])
            except Exception as e:              # whatever it was, the test must hear of it
                answer = {"error": repr(e)}
            try:
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                pass

    def run(self):
        while True:
            ready, _, _ = select.select([sys.stdin, self.listener], [], [], 1.0)
            reap()
            if self.listener in ready:
                self.serve(self.listener.accept()[0])
            if sys.stdin in ready and not os.read(0, 1):
                return

    def end(self):
        downs = [subprocess.Popen([PROGRAMS[what], END[what], os.path.join(self.directory, name)],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                 for name, what in reversed(list(self.started.items()))]
        for down in downs:
            down.wait()
        reap()
        if os.environ.get("EASGATE_KEEP") != "1":
            shutil.rmtree(self.directory, ignore_errors=True)


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    keeper = Keeper(sys.argv[1])
    print("ready", flush=True)
    try:
        keeper.run()
    finally:
        keeper.end()
