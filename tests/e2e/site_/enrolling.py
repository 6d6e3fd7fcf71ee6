"""easenroll with a CA of its own and one account, for tests of what devices get; and a phone with a built-in certificate."""
import contextlib
import http.client
import json
import os
import plistlib
import ssl
import subprocess

import yaml

from . import made_ca
from .accounts import USERS, AccountsFile
from .proxy import Proxy, binary

PASSWORD = "Korrekt-Pferd-7"


def run(*argv, data=None):
    done = subprocess.run([str(a) for a in argv], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, "%s: %s" % (argv, done.stderr.decode("utf-8", "replace"))
    return done.stdout


class DeviceCa:
    """Signs built-in certificates; ended long ago."""

    def __init__(self, place):
        self.place = place
        run("openssl", "req", "-x509", "-newkey", "rsa:1024", "-sha1", "-nodes", "-keyout", place / "device-ca.key", "-out", place / "device-ca.pem",
            "-subj", "/CN=Example iPhone Device CA", "-days", "1", "-addext", "keyUsage=keyCertSign")

    def phone(self, name):
        """A key and its certificate, which ended before it began to be asked about."""
        p = self.place / name
        run("openssl", "req", "-newkey", "rsa:1024", "-nodes", "-keyout", "%s.key" % p, "-out", "%s.csr" % p, "-subj", "/CN=" + name)
        run("openssl", "x509", "-req", "-sha1", "-in", "%s.csr" % p, "-CA", self.place / "device-ca.pem", "-CAkey", self.place / "device-ca.key",
            "-days", "-1", "-out", "%s.pem" % p)
        return Phone(p)


class Phone:
    def __init__(self, path):
        self.path = path

    def post(self, challenge, udid, key=None, certificate=None, digest="sha1"):
        """What a device sends about itself."""
        body = plistlib.dumps({"CHALLENGE": challenge, "UDID": udid, "PRODUCT": "iPhone15,2", "SERIAL": "F2L" + udid[-4:], "VERSION": "22B91"})
        return run("openssl", "cms", "-sign", "-binary", "-nodetach", "-md", digest, "-outform", "DER", "-signer", certificate or "%s.pem" % self.path,
                   "-inkey", key or "%s.key" % self.path, data=body)


class Site:
    """easenroll with a CA of its own and one account."""

    def __init__(self, place, over_the_air=True, **changes):
        """changes: more of `enroll:`."""
        self.place = place
        self.accounts = AccountsFile(place / "accounts.yaml")
        hashed = run("openssl", "passwd", "-6", PASSWORD).decode().strip()
        self.accounts.add("alice", display_name="Alice Example", password=hashed)
        self.devices = DeviceCa(place)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", place / "tls.key",
            "-out", place / "tls.pem", "-subj", "/CN=enroll.test", "-days", "2")
        for name in "state", "run":
            (place / name).mkdir()
        config = {
            "state_dir": str(place / "state"), "run_dir": str(place / "run"),
            "directory": {"kind": "file", "file": self.accounts.path},
            "enroll": {
                "listeners": [{"address": "127.0.0.1:0", "certificate": str(place / "tls.pem"), "key": str(place / "tls.key")},
                              {"address": "127.0.0.1:0", "plain": True}],
                "public_url": "https://enroll.test", "plain_url": "http://enroll.test",
                "portal": {"required_group": USERS},
                "mail": {"host": "mail.test", "display_name": "Company mail", "organization": "Example"},
                "apple": {"device_cas_file": str(place / "device-ca.pem")} if over_the_air else {},
                **changes,
            },
        }
        if os.getuid() == 0:
            config["user"] = "nobody"
        (place / "easgate.yaml").write_text(yaml.safe_dump(config))
        made_ca.give(binary("easenroll"), place / "easgate.yaml", config, "Example")
        self.program = Proxy(config, place, program=binary("easenroll"))
        self.tls, self.plain = (self.program.events("listening")[i]["address"] for i in range(2))
        self.csrf = self.cookie = None

    def ask(self, method, path, body=None, **headers):
        host, port = self.tls.rsplit(":", 1)
        context = ssl._create_unverified_context()
        with contextlib.closing(http.client.HTTPSConnection(host, int(port), context=context, timeout=20)) as line:
            if self.cookie:
                headers.update({"Cookie": self.cookie, "X-Easgate-Csrf": self.csrf})
            if isinstance(body, dict):
                body, headers["Content-Type"] = json.dumps(body), "application/json"
            line.request(method, path, body, {"Host": "enroll.test", **headers})
            answer = line.getresponse()
            return answer.status, answer.headers, answer.read()

    def sign_in(self):
        status, headers, body = self.ask("POST", "/api/session", {"name": "alice", "password": PASSWORD})
        assert status == 200, body
        self.cookie, self.csrf = headers["Set-Cookie"].split(";")[0], json.loads(body)["csrf"]

    def link(self, kind="iphone", with_password=False):
        """(device's id, path of a link for it[, the password shown with it])"""
        status, _, body = self.ask("POST", "/api/devices", {"name": "Alice's phone", "kind": kind})
        assert status == 201, body
        device = json.loads(body)["device"]["id"]
        answer = self.deliver(device)
        return (device, answer["path"], answer["password"]) if with_password else (device, answer["path"])

    def deliver(self, device):
        """What the portal shows for a new link of a device."""
        status, _, body = self.ask("POST", "/api/devices/%s/delivery" % device, {})
        assert status == 200, body
        return json.loads(body)

    def opened(self, signed):
        """The profile in a signed message, verified up to our root."""
        (self.place / "signed").write_bytes(signed)
        return plistlib.loads(run("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", self.place / "signed", "-CAfile", self.root(),
                                  "-purpose", "any"))

    def root(self):
        folder = self.place / "state" / "ca"
        return next(folder / name for name in sorted(os.listdir(folder)) if name.startswith("root") and name.endswith(".pem"))

    def scep(self, payload, name):
        """A key and the certificate that a SCEP client of another make gets with the payload's own values; paths."""
        values, base = payload["PayloadContent"], self.place / name
        url = values["URL"].replace("http://enroll.test", "http://" + self.plain)
        run("pki", "--scepca", "--url", url, "--caout", "%s-ca" % base, "--raout", "%s-ra" % base, "--outform", "pem")
        run("openssl", "genrsa", "-traditional", "-out", "%s.key" % base, str(values["Keysize"]))
        ca, ra = self._chosen("%s-ca" % name), self._chosen("%s-ra" % name)
        trusted = [word for path in ca for word in ("--cacert", path)]
        issuing = next(path for path in ca if "issuing" in self._subject(path).lower() or len(ca) == 1)
        certificate = run("pki", "--scep", "--url", url, "--in", "%s.key" % base, "--dn", "CN=phone", "--password", values["Challenge"],
                          "--cacert-enc", ra[0], "--cacert-sig", issuing, *trusted, "--outform", "pem")
        (self.place / (name + ".pem")).write_bytes(certificate)
        return "%s.key" % base, "%s.pem" % base

    def _chosen(self, prefix):
        return [self.place / name for name in sorted(os.listdir(self.place)) if name.startswith(prefix)]

    @staticmethod
    def _subject(path):
        return run("openssl", "x509", "-noout", "-subject", "-in", path).decode()

    def stop(self):
        self.program.stop()
