"""easenroll for its clients: a CA of its own, one account, and what programs need to know of it."""
import contextlib
import json
import os
import pathlib
import sqlite3
import subprocess

import yaml

from . import made_ca, scep
from .accounts import AccountsFile
from .proxy import Proxy, binary

PASSWORD = "Korrekt-Pferd-7"


def run(*argv, data=None, good=True, **more):
    done = subprocess.run([str(a) for a in argv], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, **more)
    if good:
        assert done.returncode == 0, "%s: exit status %d: %s" % (argv, done.returncode, done.stderr.decode("utf-8", "replace"))
    return done


def text_of(certificate):
    form = "PEM" if certificate.startswith(b"-----") else "DER"
    return run("openssl", "x509", "-inform", form, "-noout", "-text", data=certificate).stdout.decode()


class Site:
    """easenroll with a CA of its own, one account, and what its clients need to know of it."""

    def __init__(self, place, lockout=None, **enroll):
        self.place = place
        self.accounts = AccountsFile(place / "accounts.yaml")
        hashed = run("openssl", "passwd", "-6", PASSWORD).stdout.decode().strip()
        self.accounts.add("alice", display_name="Alice Example", password=hashed)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", place / "tls.key",
            "-out", place / "tls.pem", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2")
        for name in "state", "run":
            (place / name).mkdir()
        config = {
            "state_dir": str(place / "state"), "run_dir": str(place / "run"),
            "lockout": lockout or {}, "directory": {"kind": "file", "file": self.accounts.path},
            "enroll": {
                "listeners": [{"address": "127.0.0.1:0", "certificate": str(place / "tls.pem"), "key": str(place / "tls.key")},
                              {"address": "127.0.0.1:0", "plain": True}],
                "public_url": "https://enroll.test", "plain_url": "http://enroll.test",
                "mail": {"host": "mail.test"}, **enroll,
            },
        }
        if os.getuid() == 0:
            config["user"] = "nobody"
        (place / "easgate.yaml").write_text(yaml.safe_dump(config))
        made_ca.give(binary("easenroll"), place / "easgate.yaml", config, "Example")
        self.config = config
        self.start()
        folder = place / "state" / "ca"
        self.root, self.issuing, self.ra = (next(folder / n for n in sorted(os.listdir(folder)) if n.startswith(kind) and n.endswith(".pem"))
                                            for kind in ("root", "issuing", "ra"))

    def start(self):
        self.program = Proxy(self.config, self.place, program=binary("easenroll"))
        self.tls, self.plain = (self.program.events("listening")[i]["address"] for i in range(2))
        self.scep = "http://%s/scep" % self.plain
        self.est = "https://localhost:" + self.tls.rsplit(":", 1)[1]

    def command(self, *argv):
        return run(binary("easenroll"), "-c", self.place / "easgate.yaml", *argv, "--json").stdout

    def ask(self, *argv):
        return json.loads(self.command(*argv))

    def secret(self, purpose="scep", account="alice"):
        return self.ask("secret", "add", "--account", account, "--purpose", purpose)["secret"]

    def trail(self):
        """The audit trail as (action, detail)."""
        return [(entry["action"], entry["detail"]) for entry in self.ask("audit", "list", "--limit", "100000")["entries"]]

    def devices(self):
        return self.ask("device", "list")["devices"]

    def live(self):
        """How many certificates are live, by the registry's own word."""
        with contextlib.closing(sqlite3.connect(self.place / "state" / "enroll" / "registry.db")) as db:
            return db.execute("SELECT count(*) FROM certificates WHERE state = 2").fetchone()[0]

    def kept_requests(self):
        """How many requests the registry keeps, whatever became of them."""
        with contextlib.closing(sqlite3.connect(self.place / "state" / "enroll" / "registry.db")) as db:
            return db.execute("SELECT count(*) FROM transactions WHERE csr IS NOT NULL").fetchone()[0]

    def client(self, **how):
        return scep.Client(self.scep, self.ra.read_bytes(), **how)

    def key(self, name):
        run("openssl", "genrsa", "-traditional", "-out", self.place / name, "2048")
        return self.place / name

    def csr(self, name, key, subject="/CN=Administrator", form="DER"):
        run("openssl", "req", "-new", "-key", key, "-subj", subject, "-outform", form, "-out", self.place / name)
        return self.place / name

    def verify(self, certificate):
        """Chains to our root, is for a client, and says what the directory says."""
        path = self.place / "to-verify.pem"
        path.write_bytes(certificate if certificate.startswith(b"-----") else run("openssl", "x509", "-inform", "DER", data=certificate).stdout)
        run("openssl", "verify", "-purpose", "sslclient", "-CAfile", self.root, "-untrusted", self.issuing, path)
        text = text_of(certificate)
        assert "CN = Alice Example" in text and "Administrator" not in text
        assert "alice@example.com" in text
        return text

    def curl(self, *argv, good=True):
        return run("curl", "-s", "-S", "--max-time", "20", "--cacert", self.place / "tls.pem", *argv, good=good).stdout

    def stop(self):
        self.program.stop()


@contextlib.contextmanager
def running(place, **enroll):
    site = Site(pathlib.Path(place), **enroll)
    try:
        yield site
    finally:
        site.stop()
