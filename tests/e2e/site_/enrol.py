"""easenroll as a process, what it was given, and clients that nobody here wrote: curl and the openssl command line."""
import base64
import functools
import json
import os
import re
import subprocess

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from . import made_ca
from .proxy import Proxy, binary

PASSWORD = "Correct-Horse-7"


@functools.cache
def hashed(password):
    """As mkpasswd writes it: crypt(3), SHA-512."""
    done = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=password.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def configuration(place, server, accounts, user=None, **enroll):
    """A small one that works; `server` is an Identity for the TLS listener, `enroll` replaces keys of its section."""
    files = {name: os.path.join(str(place), name) for name in ("state", "run", "tls")}
    for path in files.values():
        os.makedirs(path, exist_ok=True)
    certificate, key = server.write(files["tls"], "enroll")
    config = {
        "state_dir": files["state"], "run_dir": files["run"], "log": {"level": "debug"},
        "directory": {"kind": "file", "file": accounts.path},
        "enroll": dict({
            "listeners": [{"address": "127.0.0.1:0", "certificate": certificate, "key": key},
                          {"address": "127.0.0.1:0", "plain": True}],
            "public_url": "https://enroll.example.com", "plain_url": "http://enroll.example.com",
            "mail": {"host": "mail.example.com"},
            "admin": {"address": "127.0.0.1:0"}, "limits": {"drain_seconds": 2},
        }, **enroll),
    }
    if user:
        config["user"] = user
    return config


class Enroll(Proxy):
    """One easenroll with its children. Makes its CA first if there is none."""

    def __init__(self, config, place, **kw):
        self.directory = config["state_dir"]
        self.ca_folder = os.path.join(self.directory, "ca")
        self.program = kw.pop("program", None) or binary("easenroll")
        self.place = str(place)
        self.path = os.path.join(self.place, "easgate.yaml")
        self.write(config)
        self._own_directories(config)
        if not os.path.exists(self.ca_folder):
            made_ca.give(self.program, self.path, config)
        super().__init__(config, place, program=self.program, **kw)

    def run(self, *words, check=True):
        """A command of easenroll with this configuration; its standard output."""
        done = subprocess.run([self.program, "-c", self.path, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        if check:
            assert done.returncode == 0, "easenroll %s: %s" % (" ".join(words), done.stderr.decode())
            return done.stdout.decode()
        return done

    def ask(self, *words):
        return json.loads(self.run("--json", *words))

    @property
    def tls(self):
        return self.address("enroll")

    @property
    def plain(self):
        return self.address("plain")

    @property
    def admin(self):
        return self.address("admin")

    def file(self, name):
        return os.path.join(self.ca_folder, name)

    def issuer(self):
        with open(self.file("issuing-1.pem"), "rb") as f:
            return x509.load_pem_x509_certificate(f.read())

    def issuer_name(self):
        spki = self.issuer().public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(spki)
        return digest.finalize().hex()


class Answer:
    """What curl got: status, fields (lower-case names) and body."""

    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head, _, self.body = self.body.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.fields.setdefault(name.lower(), []).append(value.strip())

    def get(self, name):
        return self.fields.get(name.lower(), [None])[0]

    def json(self):
        return json.loads(self.body)


def curl(url, *args, data=None):
    """-k: what these tests hold the server to is not its own certificate, which the test has made."""
    command = ["curl", "-s", "-i", "-k", "--max-time", "20", *args]
    if data is not None:
        command += ["--data-binary", "@-"]
    done = subprocess.run(command + [url], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert done.returncode == 0, "curl: exit %d %s" % (done.returncode, done.stderr.decode())
    return Answer(done.stdout)


class Browser:
    """Somebody at the portal: a cookie jar and the CSRF token of the session."""

    def __init__(self, enroll, place, name="alice"):
        self.base = "https://" + enroll.tls
        self.jar = os.path.join(str(place), name + ".cookies")
        self.csrf = None

    def call(self, method, path, body=None, *args):
        headers = ["-H", "Content-Type: application/json"] if body is not None else []
        if self.csrf:
            headers += ["-H", "X-Easgate-Csrf: " + self.csrf]
        return curl(self.base + path, "-X", method, "-b", self.jar, "-c", self.jar, *headers, *args,
                    data=None if body is None else json.dumps(body).encode())

    def sign_in(self, name, password=PASSWORD):
        answer = self.call("POST", "/api/session", {"name": name, "password": password})
        if answer.status == 200:
            self.csrf = answer.json()["csrf"]
        return answer


def new_request(key=None, subject=None):
    """A PKCS#10 request as base64 (EST) and its key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = subject or x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "anything")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return base64.encodebytes(csr.public_bytes(serialization.Encoding.DER)), key


def certificates(p7_base64):
    """Certificates of an EST answer, read by the openssl command line."""
    done = subprocess.run(["openssl", "pkcs7", "-inform", "DER", "-print_certs"], input=base64.b64decode(p7_base64),
                          stdout=subprocess.PIPE, check=True)
    ends = b"-----END CERTIFICATE-----"
    return [x509.load_pem_x509_certificate(part[part.index(b"-----BEGIN"):] + ends) for part in done.stdout.split(ends)[:-1]]


def est_enroll(enroll, user, secret, path="simpleenroll", *args, subject=None):
    """(answer, certificate or None, key)"""
    body, key = new_request(subject=subject)
    answer = curl("https://%s/.well-known/est/%s" % (enroll.tls, path), "-u", "%s:%s" % (user, secret),
                  "-H", "Content-Type: application/pkcs10", *args, data=body)
    return answer, certificates(answer.body)[0] if answer.status == 200 else None, key


def whose_first_bit_is_set(issue):
    """A certificate from issue() whose serial fills its 128 bits: every other one by chance."""
    for _ in range(64):
        certificate = issue()
        if certificate.serial_number.bit_length() == 128:
            return certificate
    raise AssertionError("64 serials without their first bit: it is always 0")


def ocsp_status(enroll, certificate, place, *args, listener=None):
    """What `openssl ocsp` says: "good", "revoked" or "unknown", and all of its words. Its verification must pass."""
    path = os.path.join(str(place), "asked-%x.pem" % certificate.serial_number)
    with open(path, "wb") as f:
        f.write(certificate.public_bytes(serialization.Encoding.PEM))
    done = subprocess.run(["openssl", "ocsp", "-issuer", enroll.file("issuing-1.pem"), "-cert", path, "-CAfile", enroll.file("root-1.pem"),
                           "-verify_other", enroll.file("issuing-1.pem"), "-url", "http://%s/ocsp" % (listener or enroll.plain), *args],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    text = done.stdout.decode()
    assert "Response verify OK" in text, text
    return re.search(r": (good|revoked|unknown)$", text, re.M)[1], text


def crl(enroll, name=None):
    """The full CRL as served, its signature checked."""
    answer = curl("http://%s/crl/%s.crl" % (enroll.plain, name or enroll.issuer_name()))
    assert answer.status == 200
    found = x509.load_der_x509_crl(answer.body)
    assert found.is_signature_valid(enroll.issuer().public_key())
    return found


def write_yaml(path, value):
    with open(path, "w") as f:
        yaml.safe_dump(value, f, sort_keys=False)
