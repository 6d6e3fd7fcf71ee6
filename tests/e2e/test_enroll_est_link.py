"""EST requests that name the TLS connection they come over (RFC 7030 section 3.5): made by the openssl command line, which tells the key that TLS 1.3
exports, and by Python, which tells tls-unique of TLS 1.2."""
import base64
import re
import socket
import ssl
import subprocess

import pytest

from site_ import scep
from site_.http1 import Reader
from site_.ways import PASSWORD, running


@pytest.fixture(scope="module")
def key():
    return scep.new_key()


def question(site, key, binding, operation="simpleenroll"):
    """The bytes of a request whose challenge password is the base64 of this; None: it has none."""
    csr = scep.request(key, None if binding is None else base64.b64encode(binding).decode())
    body = base64.b64encode(csr)
    basic = base64.b64encode(("alice:" + PASSWORD).encode()).decode()
    return ("POST /.well-known/est/%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nAuthorization: Basic %s\r\n"
            "Connection: close\r\nContent-Length: %d\r\n\r\n" % (operation, basic, len(body))).encode() + body


class Openssl:
    """`openssl s_client` with the key that it exports for RFC 9266."""

    def __init__(self, site, *argv):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", site.tls, "-CAfile", str(site.place / "tls.pem"), "-keymatexport", "EXPORTER-Channel-Binding",
             "-keymatexportlen", "32", "-ign_eof", *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for line in self.process.stdout:
            found = re.search(rb"Keying material: ([0-9A-F]{64})", line)
            if found:
                self.binding = bytes.fromhex(found[1].decode())
                return
        raise AssertionError("openssl tells no key")

    def ask(self, data):
        out, _ = self.process.communicate(data, timeout=20)
        return int(re.search(rb"HTTP/1.1 (\d+)", out)[1])


class Tls12:
    """Python's connection and its tls-unique."""

    def __init__(self, site):
        context = ssl.create_default_context(cafile=str(site.place / "tls.pem"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        host, port = site.tls.rsplit(":", 1)
        self.sock = context.wrap_socket(socket.create_connection((host, int(port)), timeout=20), server_hostname="localhost")
        self.binding = self.sock.get_channel_binding("tls-unique")

    def ask(self, data):
        with self.sock:
            self.sock.sendall(data)
            return Reader(self.sock.recv).response("POST").status


@pytest.fixture
def site(place):
    with running(place) as site:
        yield site


@pytest.mark.parametrize("connect", [Openssl, Tls12, lambda site: Openssl(site, "-tls1_2")],
                         ids=["tls-exporter", "tls-unique", "tls-exporter over TLS 1.2"])
def test_e44_a_request_that_names_its_own_connection_is_taken_and_one_that_names_another_refused(site, key, connect):
    other = connect(site)
    for line, binding, status in ((connect(site), "own", 200), (connect(site), other.binding, 400), (connect(site), b"x" * 32, 400),
                                  (connect(site), b"", 200)):
        assert line.ask(question(site, key, line.binding if binding == "own" else binding or None)) == status, binding
    other.ask(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert [detail for _, detail in site.trail()].count("its challenge password does not name this TLS connection") == 2


def test_e44_where_the_link_is_required_a_request_without_it_is_refused(place, key):
    with running(place, est={"require_pop_link": True}) as site:
        line = Tls12(site)
        assert line.ask(question(site, key, None)) == 400
        line = Tls12(site)
        assert line.ask(question(site, key, line.binding)) == 200
        assert Tls12(site).ask(question(site, key, None, "serverkeygen")) == 200
        assert any("est.require_pop_link" in detail for _, detail in site.trail())
