"""SCEP, EST and the NDES page as programs see them that nobody here wrote: strongSwan's pki, Debian's scepclient, certmonger's scep-submit, curl and
the openssl command. Each gets its certificate from a running easenroll, and none of them a certificate that says what its request said.
"""
import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import re
import signal
import ssl
import time

import pytest
from cryptography.hazmat.primitives import serialization

from site_ import der, inside, scep
from site_.accounts import USERS
from site_.process import wait_until
from site_.proxy import binary
from site_.ways import PASSWORD, run, running, text_of

@pytest.fixture
def site(place):
    with running(place) as site:
        yield site


# --- SCEP ---

def pki_scep(site, key, *argv, good=True):
    return run("pki", "--scep", "--url", site.scep, "--in", key, "--dn", "CN=Administrator", "--cacert-enc", site.ra, "--cacert-sig", site.issuing,
               "--cacert", site.root, "--outform", "pem", *argv, good=good)


def test_strongswan_fetches_the_ca_and_the_ra(site):
    run("pki", "--scepca", "--url", site.scep, "--caout", site.place / "ca", "--raout", site.place / "got-ra", "--outform", "pem")
    got = [text_of((site.place / name).read_bytes()) for name in sorted(os.listdir(site.place)) if name.startswith(("ca", "got-ra"))]
    assert any("Root CA" in text for text in got) and any("Issuing CA" in text for text in got) and any("SCEP RA" in text for text in got)


def test_strongswan_enrols_and_renews_by_scep(site):
    key, new = site.key("a.key"), site.key("b.key")
    first = pki_scep(site, key, "--password", site.secret()).stdout
    assert "Public-Key: (2048 bit)" in site.verify(first)
    (site.place / "first.pem").write_bytes(first)
    second = pki_scep(site, new, "--cert", site.place / "first.pem", "--key", key).stdout
    site.verify(second)
    assert first != second


def test_strongswan_is_told_of_a_wrong_and_of_a_used_challenge(site):
    secret = site.secret()
    assert pki_scep(site, site.key("a.key"), "--password", "wrong", good=False).returncode != 0
    pki_scep(site, site.key("b.key"), "--password", secret)
    assert pki_scep(site, site.key("c.key"), "--password", secret, good=False).returncode != 0
    wait_until(lambda: len(site.program.events("scep_refused")) == 2, 10)
    site.program.assert_never(secret)


def test_threat_42_of_four_requests_at_once_with_one_secret_exactly_one_gets_a_certificate(site):
    secret, keys = site.secret(), [site.key("k%d.key" % n) for n in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda key: pki_scep(site, key, "--password", secret, good=False), keys))
    assert sorted(one.returncode == 0 for one in done) == [False, False, False, True]
    devices = json.loads(site.command("device", "list"))["devices"]
    assert len(devices) == 1
    assert json.dumps(json.loads(site.command("device", "show", devices[0]["id"]))).count('"state": "live"') == 1


def test_threat_40_a_request_that_names_somebody_else_is_ignored_and_audited(site):
    for challenge in site.secret(), "wrong":
        pki_scep(site, site.key("a.key"), "--password", challenge, "--san", "root@corp.example", good=False)
    trail = site.command("audit", "list").decode()
    assert "request_names_another" in trail and "Administrator" in trail
    assert "challenge_refused" in trail
    site.command("audit", "verify")


def test_the_next_ca_is_told_as_soon_as_there_is_one(site):
    assert b"GetNextCACert" not in site.curl(site.scep + "?operation=GetCACaps")
    run(binary("easenroll"), "-c", site.place / "easgate.yaml", "ca", "rollover")
    assert site.program.reload()["event"] == "reloaded"
    for _ in range(100):        # the workers hear of it from the signer
        if b"GetNextCACert\n" in site.curl(site.scep + "?operation=GetCACaps"):
            break
        time.sleep(0.1)
    answer = site.curl("-D", site.place / "head", site.scep + "?operation=GetNextCACert")
    assert "content-type: application/x-x509-next-ca-cert\r\n" in (site.place / "head").read_bytes().decode().lower()
    (site.place / "cas").write_bytes(site.root.read_bytes() + site.issuing.read_bytes())
    inner = run("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-certfile", site.ra, "-CAfile", site.place / "cas", "-purpose", "any",
                data=answer)
    assert run("openssl", "pkcs7", "-inform", "DER", "-print_certs", data=inner.stdout).stdout.count(b"BEGIN CERTIFICATE") >= 2


def scep_submit(site, *argv):
    return run("/usr/lib/certmonger/scep-submit", "-u", site.scep, *argv)


def test_certmongers_helper_reads_capabilities_and_certificates(site):
    done = scep_submit(site, "-c")
    assert b"SHA-256" in done.stdout and b"POSTPKIOperation" in done.stdout
    assert scep_submit(site, "-C").stdout.count(b"-----BEGIN CERTIFICATE-----") >= 3


CERTMONGER = """set -e
/usr/lib/certmonger/certmonger-session -n >log 2>&1 & daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
for i in $(seq 100); do getcert list-cas -s >/dev/null 2>&1 && break; sleep 0.1; done
getcert add-scep-ca -s -c easgate -u "$URL"
getcert request -s -c easgate -k "$PWD/c.key" -f "$PWD/c.pem" -N CN=Administrator -L "$CHALLENGE" -w -v
cp c.pem first.pem; cp c.key first.key
getcert rekey -s -f "$PWD/c.pem" -w -v
getcert list -s
"""


def test_certmonger_enrols_with_its_version_1_signer_and_renews_for_a_new_key(site):
    folder = site.place / "certmonger"
    folder.mkdir()
    done = run("dbus-run-session", "--", "bash", "-c", CERTMONGER, good=False, cwd=folder, env={
        **os.environ, "URL": site.scep, "CHALLENGE": site.secret(), "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_RUNTIME_DIR": str(folder),
        "CERTMONGER_REQUESTS_DIR": str(folder), "CERTMONGER_CAS_DIR": str(folder), "TMPDIR": str(folder)})
    assert (folder / "first.pem").exists(), done.stdout + done.stderr
    first, second = ((folder / name).read_bytes() for name in ("first.pem", "c.pem"))
    for certificate in first, second:
        site.verify(certificate)
    assert first != second and (folder / "first.key").read_bytes() != (folder / "c.key").read_bytes()
    assert site.trail().count(("certificate-used-first", "renewal")) == 1
    assert len(site.devices()) == 1, "the same device has it, without another challenge"


def helper_posts(site, message):
    """What certmonger's helper makes of the answer to this pkiMessage: (exit status, what it prints on standard output)."""
    pem = b"-----BEGIN PKCS7-----\n" + base64.encodebytes(message) + b"-----END PKCS7-----\n"
    (site.place / "message.pem").write_bytes(pem)
    (site.place / "others.pem").write_bytes(site.issuing.read_bytes() + site.root.read_bytes())
    done = run("/usr/lib/certmonger/scep-submit", "-u", site.scep, "-r", site.ra, "-N", site.issuing, "-I", site.place / "others.pem", "-p", site.place / "message.pem",
               good=False)
    return done.returncode, done.stdout.decode()


def test_certmongers_helper_enrols_renews_by_the_old_certificate_and_tells_of_a_wrong_challenge(site):
    """Its exit status is what the daemon goes by: 0 is issued, with the envelope as PEM; 2 is refused for good, with the reason."""
    client = site.client()

    def post(kind, challenge, key, signing, signer):
        transaction = os.urandom(8).hex()
        return helper_posts(site, scep.message(kind, transaction, scep.envelope(client.ra, scep.request(key, challenge)), signing, signer))

    def issued(printed, key):
        """The PEM of the certificate in the envelope that the helper has printed, which `key` opens."""
        inner = re.fullmatch("-----BEGIN PKCS7-----\n(.*)-----END PKCS7-----\n*", printed, re.S)[1]
        return pem_in(run("openssl", "pkcs7", "-inform", "DER", "-print_certs", data=scep.opened(base64.b64decode(inner), key)).stdout)
    refused = (2, "Transaction either is not permitted or is not supported by server.\n")         # its words for badRequest
    assert post(scep.PKCS_REQ, "wrong", client.key, client.key, client.signer) == refused
    status, printed = post(scep.PKCS_REQ, site.secret(), client.key, client.key, client.signer)
    assert status == 0, printed
    first, new = issued(printed, client.key), scep.new_key()
    old = run("openssl", "x509", "-outform", "DER", data=first).stdout
    status, printed = post(scep.RENEWAL_REQ, None, new, client.key, old)
    assert status == 0, printed
    second = issued(printed, client.key)
    site.verify(second)
    assert second != first and len(site.devices()) == 1
    assert run("openssl", "x509", "-noout", "-pubkey", data=second).stdout == new.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert post(scep.RENEWAL_REQ, None, scep.new_key(), new, scep.self_signed(new)) == refused, "signed with no certificate of ours"
    assert [action for action, _ in site.trail()].count("challenge_refused") == 1 and ("request_refused", "a renewal that no certificate of ours signed") in site.trail()


def scepclient(site, folder="client", challenge=None):
    """Single DES and SHA-1, whatever the server can. It would take the CA for its recipient; the fingerprint says which one is. With a certificate in
    its folder it renews that.
    """
    folder = site.place / folder
    folder.mkdir(exist_ok=True)
    ra = run("openssl", "x509", "-in", site.ra, "-outform", "DER").stdout
    done = run("scepclient", "-server-url", site.scep, "-private-key", folder / "client.key", "-certificate", folder / "client.pem", "-challenge",
               challenge or site.secret(), "-cn", "Administrator", "-keySize", "2048", "-ca-fingerprint", hashlib.sha256(ra).hexdigest(), good=False, cwd=folder)
    return folder / "client.pem", done


def test_scepclient_with_single_des_is_served_behind_the_named_switch_only(place):
    with running(place, scep={"legacy_des": True}) as site:
        certificate, done = scepclient(site)
        assert certificate.exists(), done.stderr
        first = certificate.read_bytes()
        site.verify(first)
        # the second time it renews, by a RenewalReq that the old certificate signed: the challenge means nothing
        scepclient(site, challenge="not asked")
        assert certificate.read_bytes() != first
        site.verify(certificate.read_bytes())
        refused, done = scepclient(site, "another", "wrong")
        assert not refused.exists() and b"badRequest" in done.stderr + done.stdout, done.stderr + done.stdout


def test_single_des_is_refused_without_the_switch(site):
    certificate, _ = scepclient(site)
    assert not certificate.exists()
    site.program.wait_event("scep_refused")


def test_a_ten_megabyte_message_is_refused(site):
    (site.place / "big").write_bytes(b"\x30\x84\x00\x98\x96\x80" + bytes(10 << 20))
    status = site.curl("-o", site.place / "answer", "-w", "%{http_code}", "--data-binary", "@%s" % (site.place / "big"),
                       site.scep + "?operation=PKIOperation", good=False)
    assert status in (b"413", b"400")


# --- EST ---

def pki_est(site, csr, *argv, good=True):
    return run("pki", "--est", "--url", site.est, "--in", csr, "--cacert", site.place / "tls.pem", "--cacert", site.root, "--cacert", site.issuing,
               "--outform", "pem", *argv, good=good)


def test_strongswan_fetches_the_ca_by_est(site):
    run("pki", "--estca", "--url", site.est, "--cacert", site.place / "tls.pem", "--caout", site.place / "est-ca", "--outform", "pem")
    got = [text_of((site.place / name).read_bytes()) for name in os.listdir(site.place) if name.startswith("est-ca")]
    assert any("Root CA" in text for text in got) and any("Issuing CA" in text for text in got)


def test_strongswan_enrols_by_est_with_a_secret_and_renews_with_its_certificate(site):
    key = site.key("a.key")
    first = pki_est(site, site.csr("a.csr", key), "--userpass", "alice:" + site.secret("est")).stdout
    site.verify(first)
    (site.place / "first.pem").write_bytes(first)
    same = site.csr("b.csr", site.key("b.key"), "/CN=Alice Example/UID=alice")
    second = pki_est(site, same, "--cert", site.place / "first.pem", "--key", key).stdout
    site.verify(second)
    assert first != second


def post_est(site, operation, body, *argv, good=True):
    (site.place / "body").write_bytes(body)
    out = site.place / "answer"
    status = site.curl("-o", out, "-D", site.place / "head", "-w", "%{http_code}", "-H", "Content-Type: application/pkcs10", "--data-binary",
                       "@%s" % (site.place / "body"), *argv, "%s/.well-known/est/%s" % (site.est, operation), good=good)
    return int(status), out.read_bytes() if out.exists() else b"", (site.place / "head").read_text().lower()


def certificates(site, body):
    """The PEM of what a certs-only answer holds."""
    return run("openssl", "pkcs7", "-inform", "DER", "-print_certs", data=base64.b64decode(body)).stdout


def pem_in(text):
    return re.search(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.S)[0]


def test_est_takes_the_accounts_password_and_bodies_in_every_form(site):
    for n, form in enumerate(("DER", "PEM", "base64", "wrapped")):
        csr = site.csr("p%d.csr" % n, site.key("p%d.key" % n), form="PEM" if form == "PEM" else "DER").read_bytes()
        body = {"base64": base64.b64encode(csr), "wrapped": base64.encodebytes(csr)}.get(form, csr)
        status, answer, head = post_est(site, "simpleenroll", body, "-u", "alice:" + PASSWORD)
        assert status == 200, answer
        assert "content-type: application/pkcs7-mime; smime-type=certs-only" in head and "content-transfer-encoding: base64" in head
        assert b"\n" not in answer
        site.verify(pem_in(certificates(site, answer)))


def test_libest_gets_lines_of_64(site):
    csr = base64.b64encode(site.csr("a.csr", site.key("a.key")).read_bytes())
    status, answer, _ = post_est(site, "simpleenroll", csr, "-u", "alice:" + PASSWORD, "-A", "libest 3.2.0p")
    assert status == 200
    assert max(len(line) for line in answer.splitlines()) == 64
    site.verify(pem_in(certificates(site, answer)))


def test_est_without_credentials_asks_for_them_and_refuses_wrong_ones(site):
    csr = base64.b64encode(site.csr("a.csr", site.key("a.key")).read_bytes())
    status, _, head = post_est(site, "simpleenroll", csr)
    assert status == 401 and 'www-authenticate: basic realm="est"' in head
    assert post_est(site, "simpleenroll", csr, "-u", "alice:wrong")[0] == 401
    secret = site.secret("est")
    assert post_est(site, "simpleenroll", csr, "-u", "bob:" + secret)[0] == 401
    assert post_est(site, "simpleenroll", csr, "-u", "alice:" + site.secret("scep"))[0] == 401
    assert post_est(site, "simpleenroll", csr, "-u", "alice:" + secret)[0] == 200
    assert post_est(site, "simpleenroll", csr, "-u", "alice:" + secret)[0] == 401
    site.program.assert_never(secret, PASSWORD)


def test_threat_44_a_renewal_needs_our_certificate_and_asks_for_the_same_names(site):
    key = site.key("a.key")
    csr = base64.b64encode(site.csr("a.csr", key).read_bytes())
    assert post_est(site, "simplereenroll", csr, "-u", "alice:" + PASSWORD)[0] == 403
    _, answer, _ = post_est(site, "simpleenroll", csr, "-u", "alice:" + PASSWORD)
    (site.place / "first.pem").write_bytes(pem_in(certificates(site, answer)))
    own = ("--cert", site.place / "first.pem", "--key", key)
    assert post_est(site, "simplereenroll", csr, *own)[0] == 403
    run("openssl", "req", "-new", "-key", key, "-subj", "/CN=Alice Example/UID=alice", "-addext", "subjectAltName=email:root@example.com", "-outform", "DER",
        "-out", site.place / "o.csr")
    assert post_est(site, "simplereenroll", base64.b64encode((site.place / "o.csr").read_bytes()), *own)[0] == 403, "another SAN"
    same = base64.b64encode(site.csr("s.csr", key, "/CN=Alice Example/UID=alice").read_bytes())
    status, answer, _ = post_est(site, "simplereenroll", same, *own)
    assert status == 200, answer
    device = json.loads(site.command("device", "list"))["devices"][0]["id"]
    site.command("device", "revoke", device)
    assert post_est(site, "simplereenroll", same, *own)[0] in (401, 403)


def test_threat_44_junk_is_refused(site):
    for body in (b"", b"!!!!", b"MIIB", base64.b64encode(b"junk"), base64.b64encode(bytes(20000))):
        assert post_est(site, "simpleenroll", body, "-u", "alice:" + PASSWORD)[0] == 400
    assert post_est(site, "fullcmc", b"x", "-u", "alice:" + PASSWORD)[0] == 501
    assert post_est(site, "none/simpleenroll", b"x", "-u", "alice:" + PASSWORD)[0] == 404


def test_serverkeygen_brings_a_key_that_fits_its_certificate_and_stays_nowhere(site):
    csr = base64.b64encode(site.csr("a.csr", site.key("a.key")).read_bytes())
    status, answer, head = post_est(site, "serverkeygen", csr, "-u", "alice:" + PASSWORD)
    assert status == 200 and "multipart/mixed; boundary=" in head and "cache-control: no-store" in head
    parts = re.findall(rb"Content-Type: ([^\r]+)\r\n.*?\r\n\r\n([A-Za-z0-9+/=]+)\r\n", answer, re.S)
    assert [kind for kind, _ in parts] == [b"application/pkcs8", b"application/pkcs7-mime; smime-type=certs-only"]
    key = base64.b64decode(parts[0][1])
    certificate = pem_in(certificates(site, parts[1][1]))
    site.verify(certificate)
    public = run("openssl", "pkey", "-inform", "DER", "-pubout", data=key).stdout
    assert public == run("openssl", "x509", "-noout", "-pubkey", data=certificate).stdout
    for folder, _, names in os.walk(site.place / "state"):
        for name in names:
            assert key not in pathlib.Path(folder, name).read_bytes()
    # who asks for more than TLS around the key gets none, and never a bare one (RFC 7030 section 4.4.1)
    sealed = der.sequence(der.oid("1.2.840.113549.1.9.16.2.54"), der.tlv(0x31, der.octets(b"key")))
    csr = base64.b64encode(scep.request(scep.new_key(), attributes=sealed))
    assert post_est(site, "serverkeygen", csr, "-u", "alice:" + PASSWORD)[0] == 400
    assert post_est(site, "simpleenroll", csr, "-u", "alice:" + PASSWORD)[0] == 200, "its own key needs no seal"


def test_e44_the_attributes_and_the_ca_are_told_to_everybody(site):
    answer = base64.b64decode(site.curl(site.est + "/.well-known/est/csrattrs"))
    assert b"ecdsa-with-SHA256" in run("openssl", "asn1parse", "-inform", "DER", data=answer).stdout
    for path in "cacerts", "mail/cacerts":
        assert certificates(site, site.curl("%s/.well-known/est/%s" % (site.est, path))).count(b"BEGIN CERTIFICATE") == 2


def test_est_waits_for_approval_with_202_and_then_gives_the_certificate_once(place):
    with running(place, profiles=[{"name": "mail", "approve": True}]) as site:
        csr = base64.b64encode(site.csr("a.csr", site.key("a.key")).read_bytes())
        for _ in range(2):
            status, _, head = post_est(site, "simpleenroll", csr, "-u", "alice:" + PASSWORD)
            assert status == 202 and "retry-after:" in head
        devices = json.loads(site.command("device", "list"))["devices"]
        assert len(devices) == 1
        site.command("device", "approve", devices[0]["id"])
        answers = [post_est(site, "simpleenroll", csr, "-u", "alice:" + PASSWORD) for _ in range(2)]
        assert [status for status, _, _ in answers] == [200, 200]
        assert pem_in(certificates(site, answers[0][1])) == pem_in(certificates(site, answers[1][1]))
        site.verify(pem_in(certificates(site, answers[0][1])))


# --- NDES ---

GROUP = "CN=Device-Managers,OU=Groups,DC=corp,DC=example"


def ndes_page(site, query="", user="alice", password=PASSWORD):
    host, port = site.tls.rsplit(":", 1)
    word = base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
    with contextlib.closing(http.client.HTTPSConnection(host, int(port), context=ssl._create_unverified_context(), timeout=20)) as line:
        line.request("GET", "/CertSrv/mscep_admin/" + query, headers={"Authorization": "Basic " + word})
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read()


def portal_answer(site, password):
    host, port = site.tls.rsplit(":", 1)
    with contextlib.closing(http.client.HTTPSConnection(host, int(port), context=ssl._create_unverified_context(), timeout=20)) as line:
        line.request("POST", "/api/session", json.dumps({"name": "alice", "password": password}),
                     {"Content-Type": "application/json", "Origin": "https://enroll.test"})
        answer = line.getresponse()
        word = json.loads(answer.read()).get("error")
        assert word == {401: "refused", 429: "wait", 503: "unavailable"}[answer.status]
        return answer.status, answer.headers["Retry-After"]


def est_answer(site, password):
    csr = base64.b64encode(site.csr("a.csr", site.key("a.key")).read_bytes())
    status, _, head = post_est(site, "simpleenroll", csr, "-u", "alice:" + password, good=False)
    found = re.search("^retry-after: *([0-9]+)", head, re.M)
    return status, found and found[1]


def ndes_answer(site, password):
    status, headers, _ = ndes_page(site, password=password)
    return status, headers["Retry-After"]


WAYS_IN = (portal_answer, est_answer, ndes_answer)


@pytest.mark.no_asan
def test_each_way_in_says_when_to_come_again_where_a_password_is_not_tried(place):
    with running(place, ndes={"enabled": True, "group": GROUP}, scep={"challenge": "ndes"},
                 lockout={"attempts": 1, "memory_mib": 1, "processes": 1}) as site:
        assert {way(site, "wrong 1") for way in WAYS_IN} == {(401, None)}
        for way in WAYS_IN:
            status, later = way(site, "wrong 2")
            assert status == 429 and 1 <= int(later) <= 1801, way
        os.kill(inside.by_role(site.program)["stretch"][0], signal.SIGSTOP)      # nobody can check one now
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            assert list(pool.map(lambda way: way(site, PASSWORD), WAYS_IN)) == [(503, "10")] * 3
        site.program.wait_event("process_hangs", timeout=5)


def test_device_managers_read_a_challenge_from_the_ndes_page_and_it_enrols(place):
    with running(place, ndes={"enabled": True, "group": GROUP, "cache": 2}, scep={"challenge": "ndes"}) as site:
        assert ndes_page(site, password="wrong")[0] == 401
        status, headers, body = ndes_page(site)
        assert status == 200 and "You do not have sufficient permission to enroll with SCEP." in body.decode("utf-16")
        hashed = site.accounts.accounts["alice"]["password"]
        site.accounts.change("alice", groups=[USERS, GROUP], password=hashed)
        site.program.reload()
        status, headers, body = ndes_page(site)
        assert body[:2] == b"\xff\xfe" and headers["Content-Type"] == "text/html" and "no-store" in headers["Cache-Control"]
        page = body.decode("utf-16")
        challenge = re.search(r"The enrollment challenge password is: <B> (\S*) </B>", page)[1]
        assert re.fullmatch("[0-9A-F]{16}", challenge)
        assert re.search(r"for the CA certificate is: <B> ([0-9A-F]{8} ){4}</B>", page)
        assert "expire within 60 minutes." in page
        site.verify(pki_scep(site, site.key("a.key"), "--password", challenge).stdout)
        pages = [ndes_page(site, "?charset=utf-8")[2].decode() for _ in range(3)]
        assert "The password cache is full." in pages[2]
