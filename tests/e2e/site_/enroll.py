"""easenroll as a process, and a browser's view of its portal: what tests of it share."""
import json
import os
import ssl
import subprocess

from . import made_ca
from .http1 import Reader
from .proxy import Proxy, binary
from .settings import changed, directory

ADMINS = "CN=EAS-Admins,OU=Groups,DC=corp,DC=example"


def configuration(place, pki, accounts=None, ad=None, user=None, changes=None):
    """A small one that works: TLS and plain listener, one profile, no Redis."""
    files = {name: os.path.join(str(place), name) for name in ("state", "run", "tls")}
    for path in files.values():
        os.makedirs(path, exist_ok=True)
    certificate, key = pki.server_ca.server("enroll.example.com", "127.0.0.1").write(files["tls"], "enroll")
    config = {
        "state_dir": files["state"], "run_dir": files["run"],
        "log": {"level": "debug", "access": True},
        "directory": directory(place, accounts, ad),
        "enroll": {
            "workers": 1,
            "listeners": [{"address": "127.0.0.1:0", "certificate": certificate, "key": key},
                          {"address": "127.0.0.1:0", "plain": True}],
            "public_url": "https://enroll.example.com", "plain_url": "http://enroll.example.com",
            "profiles": [{"name": "mail", "days": 365}],
            "portal": {"title": "Company mail", "admin_group": ADMINS if ad is None else "", "devices_per_user": 3},
            "mail": {"host": "mail.example.com", "display_name": "Company mail", "organization": "Example"},
            "admin": {"address": "127.0.0.1:0"},
        },
    }
    if user:
        config["user"] = user
    return changed(config, changes or {})


class Enroll(Proxy):
    """One easenroll with its children; its CA is made first, unless ca=False."""

    def __init__(self, config, place, netns=None, ca=True, **kw):
        self.ca_certificate = kw.pop("ca_pem", None)
        if ca:
            path = os.path.join(str(place), "ca.yaml")
            with open(path, "w") as f:
                json.dump(config, f)                # JSON is YAML
            Proxy._own_directories(config)
            made_ca.give(binary("easenroll"), path, config, "Example")
        super().__init__(config, place, netns, program=binary("easenroll"), **kw)

    def tls_address(self):
        return self.address("enroll", 0)

    def browser(self, ca):
        return Browser(self, ca)

    def command(self, *words):
        """A command of the program; its JSON answer."""
        done = subprocess.run(self.netns.command([self.program, "-c", self.path, "--json", *words]), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class Answer:
    def __init__(self, response):
        self.status, self.response, self.body = response.status, response, response.body

    @property
    def json(self):
        return json.loads(self.body)

    def get(self, name):
        return self.response.get(name)


class Browser:
    """Keeps the cookie and the CSRF token of one session; each request is a connection of its own, unless `kept` is set."""

    kept = False
    line = None

    def __init__(self, enroll, ca):
        self.enroll, self.cookie, self.csrf = enroll, None, None
        self.context = ssl.create_default_context(cadata=ca.decode() if isinstance(ca, bytes) else ca)

    def request(self, method, path, body=None, headers=(), source=None):
        host, _, port = self.enroll.tls_address().rpartition(":")
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: enroll.example.com", "Connection: " + ("keep-alive" if self.kept else "close")]
        if self.cookie:
            lines.append("Cookie: __Host-easgate=" + self.cookie)
        if self.csrf and method != "GET" and not any(k.lower() == "x-easgate-csrf" for k, _ in headers):
            lines.append("X-Easgate-Csrf: " + self.csrf)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            if not any(k.lower() == "content-type" for k, _ in headers):
                lines.append("Content-Type: application/json")
            lines.append("Content-Length: %d" % len(body))
        lines += ["%s: %s" % header for header in headers if header[1] is not None]
        s, self.line = self.line or self.context.wrap_socket(self.enroll.netns.connect((host, int(port))), server_hostname="enroll.example.com"), None
        try:
            s.sendall("\r\n".join(lines + ["", ""]).encode() + (body or b""))
            answer = Answer(Reader(s.recv).response(method))
            if self.kept and (answer.get("Connection") or "").lower() != "close":
                self.line = s
        finally:
            if self.line is None:
                s.close()
        return answer

    def close(self):
        if self.line is not None:
            self.line.close()
        self.kept, self.line = False, None

    def sign_in(self, name, password, headers=()):
        answer = self.request("POST", "/api/session", {"name": name, "password": password}, headers)
        if answer.status == 200:
            self.cookie = answer.get("Set-Cookie").split(";")[0].partition("=")[2]
            self.csrf = answer.json["csrf"]
        return answer

    def get(self, path, headers=()):
        return self.request("GET", path, headers=headers)

    def post(self, path, body=None, headers=()):
        return self.request("POST", path, {} if body is None else body, headers)
