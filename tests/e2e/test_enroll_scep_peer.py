"""The same requests to easenroll and to Debian's scepserver (package scep, micromdm), which nobody here wrote: both answers have the same shape, but for what is
listed in DIFFERENT with the reason why ours is as it is."""
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request

import pytest
from cryptography import x509

from site_ import scep
from site_.process import wait_until, with_parent
from site_.ways import run, running

CHALLENGE = "one for all of its clients"
KIND = "application/x-pki-message"


def ask(url, query, body=None):
    """(status, content type, bytes)"""
    question = urllib.request.Request(url + query, data=body, headers={"Content-Type": KIND} if body is not None else {})
    try:
        with urllib.request.urlopen(question, timeout=20) as answer:
            return answer.status, answer.headers.get("Content-Type"), answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers.get("Content-Type"), e.read()


class Peer:
    """scepserver with a CA of its own, at a port that the kernel chose."""

    def __init__(self, place):
        depot, log = place / "depot", place / "scepserver.log"
        run("scepserver", "ca", "-init", "-depot", depot, "-keySize", "2048", "-organization", "Peer")
        with open(log, "wb") as out:
            self.process = subprocess.Popen(with_parent(["scepserver", "-depot", str(depot), "-port", "0", "-challenge", CHALLENGE]),
                                            stdout=out, stderr=out, cwd=place)
        wait_until(lambda: self._port() is not None, 10)
        self.url = "http://127.0.0.1:%d/scep" % self._port()
        self.ra = (depot / "ca.pem").read_bytes()

    def _port(self):
        """It does not tell: the port of the one socket that it listens on."""
        links = ("/proc/%d/fd/%s" % (self.process.pid, fd) for fd in os.listdir("/proc/%d/fd" % self.process.pid))
        own = {re.sub(r"\D", "", os.readlink(link)) for link in links if os.path.lexists(link)}
        for table in "tcp", "tcp6":
            with open("/proc/net/" + table) as f:
                for row in map(str.split, list(f)[1:]):
                    if row[3] == "0A" and row[9] in own:
                        return int(row[1].rsplit(":", 1)[1], 16)
        return None

    def close(self):
        self.process.terminate()
        self.process.wait(10)


def shape(answer):
    """What is the same for every good server: of a CertRep its status, whether it says what was wrong, whether it gives the transaction and the nonce back, and
    whether there is content (an empty one in a failure: several clients look for it)."""
    status, kind, body = answer
    if (status, kind) != (200, KIND):
        return {"status": status, "type": kind}
    reply = scep.Reply(status, body)
    signed = scep.parts(scep.parts(scep.parts(scep.read(body)[1])[1][1])[0][1])
    return {"status": 200, "type": kind, "pkiStatus": reply.status, "failInfo": reply.fail_info, "transaction": reply.transaction,
            "recipientNonce": scep.parts(reply.recipient_nonce)[0][1] if reply.recipient_nonce[:1] == b"\x04" else reply.recipient_nonce,
            "content": len(scep.parts(signed[2][1])) > 1}


def requests(url, ra, good, key):
    """name -> (query, body)"""
    client = scep.Client(url, ra, key=key)

    def message(challenge, transaction):
        inside = scep.envelope(client.ra, scep.request(key, challenge))
        return scep.message(scep.PKCS_REQ, transaction, inside, key, client.signer, nonce=b"n" * 16)
    first = message(good, "transaction-1")
    asked = {"capabilities": ("?operation=GetCACaps", None), "certificates": ("?operation=GetCACert", None), "good": ("?operation=PKIOperation", first),
             "wrong challenge": ("?operation=PKIOperation", message("wrong", "transaction-2")),
             "no challenge": ("?operation=PKIOperation", message(None, "transaction-3")),
             "the good one again": ("?operation=PKIOperation", first), "truncated": ("?operation=PKIOperation", first[:len(first) // 2]),
             "empty": ("?operation=PKIOperation", b""), "unknown operation": ("?operation=Nonsense", None)}
    return {name: ask(url, *how) for name, how in asked.items()}


DIFFERENT = {
    # scepserver's CA signs by itself: one certificate, bare. Ours has a root, an issuing CA and an RA: RFC 8894 section 4.2.1.2 wants them as certs-only CMS.
    "certificates": ({"status": 200, "type": "application/x-x509-ca-cert"}, {"status": 200, "type": "application/x-x509-ca-ra-cert"}),
    # A client that lost its answer repeats its message (RFC 8894 section 2.9, the same transactionID): it gets the certificate that it has already. scepserver fails as
    # "DN already exists".
    "the good one again": ({"pkiStatus": "2", "failInfo": "2"}, {"pkiStatus": "0", "failInfo": None, "content": True}),
    # What cannot be read is the client's fault (RFC 9110 section 15.5.1), and nothing of the parser is told; 500 would set off the operator's alarm.
    "truncated": ({"status": 500, "type": "text/plain; charset=utf-8"}, {"status": 400, "type": "text/plain; charset=utf-8"}),
    "empty": ({"status": 500, "type": "text/plain; charset=utf-8"}, {"status": 400, "type": "text/plain; charset=utf-8"}),
    "unknown operation": ({"status": 500, "type": "text/plain; charset=utf-8"}, {"status": 400, "type": "text/plain; charset=utf-8"}),
}


@pytest.mark.no_asan
def test_scepserver_and_easenroll_answer_the_same_requests_alike(place, made):
    if not shutil.which("scepserver"):
        pytest.skip("scepserver is not installed: apt-get install scep")
    key = scep.new_key()
    with running(place) as site:
        peer = made(Peer(site.place))
        theirs = requests(peer.url, peer.ra, CHALLENGE, key)
        ours = requests(site.scep, site.ra.read_bytes(), site.secret(), key)
    same = {name: shape(answer) for name, answer in theirs.items()}
    for name, (there, here) in DIFFERENT.items():
        assert {k: same[name].get(k) for k in there} == there, "%s: scepserver has changed: is the reason still one?" % name
        same[name] = {**same[name], **here}
    assert {name: shape(answer) for name, answer in ours.items()} == same
    assert same["good"] == {"status": 200, "type": KIND, "pkiStatus": "0", "failInfo": None, "transaction": "transaction-1", "recipientNonce": b"n" * 16,
                            "content": True}
    assert (same["wrong challenge"]["pkiStatus"], same["wrong challenge"]["failInfo"]) == ("2", "2")
    # SHA-1 ours does only where it is switched on (enroll.scep.legacy_des); it has newer digests besides
    words = {name: set(answers["capabilities"][2].decode().split()) for name, answers in (("theirs", theirs), ("ours", ours))}
    assert words["ours"] - words["theirs"] == {"SHA-384", "SHA-512"} and words["theirs"] - words["ours"] == {"SHA-1"}
    assert x509.load_der_x509_certificate(theirs["certificates"][2]) == x509.load_pem_x509_certificate(peer.ra)
    listed = run("openssl", "pkcs7", "-inform", "DER", "-print_certs", data=ours["certificates"][2]).stdout
    assert listed.count(b"BEGIN CERTIFICATE") == 3
