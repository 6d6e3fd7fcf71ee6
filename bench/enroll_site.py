"""One easenroll for a bench run: configuration, CA, accounts, a registry on disk; and what is asked of it by its local socket."""
import concurrent.futures
import contextlib
import datetime
import http.client
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time

import yaml

import measure
import pki

HOST = "enroll.bench.example"
GROUP = "CN=EAS-Users,OU=Groups,DC=corp,DC=example"
ACCOUNTS = 64
OLD_DEVICES = 10_000            # whose certificates are in the long list
ASKERS = 16                     # questions by the local socket at once


class Local(http.client.HTTPConnection):
    """HTTP over easenroll's local socket, as its command line speaks it."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.socket_path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.socket_path)

    def ask(self, method, path, body=None):
        self.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise measure.BenchError(f"{method} {path}: {answer.status} {text[:200]}")
        return json.loads(text)


class Site:
    """easenroll on CPU 0 with a fresh state_dir below `folder`. The TLS listener has a P-256 certificate."""

    def __init__(self, build, folder, **enroll):
        self.program = os.path.join(build, "easenroll")
        self.folder = folder
        self.process = None
        self.local = threading.local()
        for name in ("state", "run"):
            os.makedirs(os.path.join(folder, name))
        os.chmod(folder, 0o755)
        self.tls_files()
        self.write("accounts.yaml", yaml.safe_dump({"accounts": [
            {"sam": f"user{i}", "upn": f"user{i}@corp.example", "sid": f"S-1-5-21-1-2-3-{1104 + i}", "mail": f"user{i}@example.com",
             "realm": "CORP.EXAMPLE", "enabled": True, "display_name": f"User {i}", "groups": [str(GROUP)],
             "alt_security_identities": []} for i in range(ACCOUNTS)]}))
        self.config = self.write("easgate.yaml", yaml.safe_dump(self.configuration(enroll)))
        if os.getuid() == 0:
            for path in (folder, self.path("state"), self.path("run")):
                shutil.chown(path, "nobody", "nogroup")
        self.run("ca", "init")

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        return self.path(name)

    def tls_files(self):
        now = datetime.datetime.utcnow()
        ca_key, key = pki.ec.generate_private_key(pki.ec.SECP256R1()), pki.ec.generate_private_key(pki.ec.SECP256R1())
        name = pki.name_of("Bench TLS")

        def made(subject, of, ca):
            return (pki.x509.CertificateBuilder().subject_name(subject).issuer_name(name).public_key(of.public_key())
                    .serial_number(pki.x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                    .not_valid_after(now + datetime.timedelta(days=2))
                    .add_extension(pki.x509.BasicConstraints(ca, None), True)
                    .add_extension(pki.x509.SubjectAlternativeName([pki.x509.DNSName(HOST)]), False)
                    .sign(ca_key, pki.hashes.SHA256()))
        self.write("tls-ca.pem", pki.cert_pem(made(name, ca_key, True)))
        self.write("tls.pem", pki.cert_pem(made(pki.name_of(HOST), key, False)))
        self.write("tls.key", pki.key_pem(key))

    def configuration(self, enroll):
        config = {
            "state_dir": self.path("state"), "run_dir": self.path("run"), "log": {"level": "info"},
            "directory": {"kind": "file", "file": self.path("accounts.yaml")},
            "enroll": dict({
                "listeners": [{"address": "127.0.0.1:0", "certificate": self.path("tls.pem"), "key": self.path("tls.key")},
                              {"address": "127.0.0.1:0", "plain": True}],
                "public_url": f"https://{HOST}", "plain_url": f"http://{HOST}", "mail": {"host": "mail.bench.example"},
                "portal": {"devices_per_user": 1000}, "secrets": {"seconds": 3600},
            }, **enroll),
        }
        if os.getuid() == 0:
            config["user"] = "nobody"
        return config

    # --- the process ---

    def run(self, *words):
        done = subprocess.run([self.program, "-c", self.config, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise measure.BenchError(f"easenroll {' '.join(words)}: {done.stderr.decode()[-500:]}")
        return done.stdout.decode()

    def start(self, seconds=30):
        log = self.path("log")
        if os.path.exists(log):
            os.rename(log, log + ".before")
        with open(log, "ab") as f:
            self.process = measure.start([self.program, "-c", self.config], measure.PROXY_CPU, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=f)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if all(self.address(what) for what in ("enroll", "plain")) and self.answers():
                return self
            time.sleep(0.02)
        raise measure.BenchError(f"easenroll did not start: {self.said()[-2000:]}")

    def answers(self):
        """The CA's name is known to the worker, and its first list is in place."""
        try:
            connection = http.client.HTTPConnection(self.plain, timeout=10)
            connection.request("GET", f"/crl/{self.issuer_name()}.crl")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def stop(self):
        self.local = threading.local()
        measure.stop(self.process)

    def said(self):
        with open(self.path("log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def address(self, what):
        for line in self.said().splitlines():
            if '"listening"' in line and f'"{what}"' in line:
                return json.loads(line)["address"]
        return None

    @property
    def tls(self):
        return self.address("enroll")

    @property
    def plain(self):
        return self.address("plain")

    @property
    def pid(self):
        return self.process.pid

    def issuer(self):
        with open(self.path("state", "ca", "issuing-1.pem"), "rb") as f:
            return pki.x509.load_pem_x509_certificate(f.read())

    def issuer_name(self):
        spki = self.issuer().public_key().public_bytes(pki.serialization.Encoding.DER,
                                                       pki.serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = pki.hashes.Hash(pki.hashes.SHA256())
        digest.update(spki)
        return digest.finalize().hex()

    def crl_path(self):
        return self.path("state", "crl", self.issuer_name() + ".crl")

    # --- what is asked of it ---

    def ask(self, method, path, body=None):
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = self.local.connection = Local(self.path("run", "easenroll.sock"))
        return connection.ask(method, path, body)

    def secrets(self, count, purpose):
        """["user:secret"] for `count` devices, each registered before, as the portal does it."""
        def one(i):
            user = f"user{i % ACCOUNTS}"
            device = self.ask("POST", "/api/admin/devices", {"account": user, "kind": "other", "name": f"device {i}"})["device"]["id"]
            secret = self.ask("POST", "/api/admin/secrets", {"account": user, "device": device, "purpose": purpose})["secret"]
            return f"{user}:{secret}"
        with concurrent.futures.ThreadPoolExecutor(ASKERS) as pool:
            return list(pool.map(one, range(count)))

    def registry(self):
        """To read beside the running program."""
        return contextlib.closing(sqlite3.connect(f"file:{self.path('state', 'enroll', 'registry.db')}?mode=ro", uri=True, timeout=30))

    def serials(self):
        """Of all live certificates, in hex."""
        with self.registry() as db:
            return [row[0].hex() for row in db.execute("SELECT serial FROM certificates WHERE state=2")]

    def revoke_million(self, count):
        """Writes `count` revoked certificates into the registry of a stopped easenroll: what years of use leave behind."""
        db = sqlite3.connect(self.path("state", "enroll", "registry.db"))
        account, profile = db.execute("SELECT account,profile FROM certificates JOIN devices ON devices.id=device LIMIT 1").fetchone()
        now = int(time.time())
        db.create_function("serial_of", 1, lambda i: b"\x01" + os.urandom(15))
        db.executescript("PRAGMA journal_mode=DELETE;PRAGMA synchronous=OFF;PRAGMA cache_size=-200000")
        db.executemany("INSERT INTO devices(id,account,name,kind,state,created,last_seen) VALUES(?,?,'gone','other',3,?,?)",
                       [(f"{i:032x}", account, now, now) for i in range(OLD_DEVICES)])
        db.execute(
            "INSERT INTO certificates(serial,issuer,device,profile,state,spki_sha256,not_before,not_after,issued,revoked_at,reason)"
            " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?1)"
            " SELECT serial,?2,printf('%032x',i%?3),?4,5,randomblob(32),?5-1000000,?5+30000000,?5-1000000,?5-i,1 FROM"
            " (SELECT i,serial_of(i) AS serial FROM n) ORDER BY serial", (count, self.issuer_name(), OLD_DEVICES, profile, now))
        db.execute("UPDATE counts SET n=n+? WHERE kind='certificates' AND state=5", (count,))
        db.commit()
        db.executescript("PRAGMA journal_mode=WAL")
        db.close()
        with open(self.path("state", "enroll", "registry.db"), "rb") as f:
            os.fsync(f.fileno())        # or the first sync of the measured program would write all this
