"""What others read of revocations: openssl verify with the lists as served, full and delta; gnutls' ocsptool; OCSP's fields for caches (RFC 5019)."""
import base64
import datetime
import email.utils
import hashlib
import os
import re
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from site_ import enrol
from site_.accounts import USERS
from site_.process import wait_until
from site_.ways import run


@pytest.fixture
def enroll(made, place, pki, accounts):
    accounts.add("carol", display_name="Carol Example", password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    user = "nobody" if os.getuid() == 0 else None
    enroll = enrol.Enroll(enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), accounts, user), place)
    enroll.close = enroll.stop
    made(enroll)
    wait_until(lambda: enrol.curl("http://%s/readyz" % enroll.admin).status == 200, 5)
    return enroll


@pytest.fixture
def device(enroll, place):
    """(id, certificate); the certificate is in device.pem as well."""
    name = enroll.ask("device", "add", "--account", "carol", "--kind", "other", "a device")["device"]["id"]
    secret = enroll.ask("secret", "add", "--account", "carol", "--device", name, "--purpose", "est")["secret"]
    answer, certificate, _ = enrol.est_enroll(enroll, "carol", secret)
    assert answer.status == 200
    with open(os.path.join(place, "device.pem"), "wb") as f:
        f.write(certificate.public_bytes(serialization.Encoding.PEM))
    return name, certificate


def served(enroll, kind):
    return enrol.curl("http://%s/crl/%s.%s" % (enroll.plain, enroll.issuer_name(), kind))


def verified(enroll, place, *argv):
    """What `openssl verify -crl_check` says of device.pem with the lists as they are served now."""
    lists = []
    for kind in "crl", "delta.crl":
        path = os.path.join(place, kind + ".pem")
        answer = served(enroll, kind)
        if answer.status == 200:
            with open(path, "wb") as f:
                f.write(run("openssl", "crl", "-inform", "DER", data=answer.body).stdout)
            lists += ["-CRLfile", path] if kind == "crl" or "-use_deltas" in argv else []
    done = run("openssl", "verify", "-CAfile", enroll.file("root-1.pem"), "-untrusted", enroll.file("issuing-1.pem"), "-crl_check", *argv, *lists,
               os.path.join(place, "device.pem"), good=False)
    return done.returncode == 0, (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("argv", [(), ("-extended_crl", "-use_deltas")], ids=["full", "delta"])
def test_openssl_verify_agrees_with_each_state_of_a_device(enroll, place, device, argv):
    name, _ = device
    wait_until(lambda: verified(enroll, place, *argv)[0], 10)
    enroll.run("device", "hold", name)
    wait_until(lambda: "certificate revoked" in verified(enroll, place, *argv)[1], 10)
    enroll.run("device", "release", name)
    wait_until(lambda: verified(enroll, place, *argv)[0], 10)
    enroll.run("device", "revoke", name, "--reason", "lost")
    wait_until(lambda: "certificate revoked" in verified(enroll, place, *argv)[1], 10)


def test_the_delta_names_its_base_and_is_named_by_it(enroll, device):
    wait_until(lambda: served(enroll, "delta.crl").status == 200, 10)
    answer, full = served(enroll, "delta.crl"), x509.load_der_x509_crl(served(enroll, "crl").body)
    delta = x509.load_der_x509_crl(answer.body)
    assert delta.is_signature_valid(enroll.issuer().public_key())
    base = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    number = full.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert base.critical and base.value.crl_number <= number
    assert delta.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > base.value.crl_number
    points = full.extensions.get_extension_for_class(x509.FreshestCRL).value
    assert points[0].full_name[0].value == "http://enroll.example.com/crl/%s.delta.crl" % enroll.issuer_name()
    assert (answer.get("Content-Type"), answer.get("ETag")) == ("application/pkix-crl", '"%s"' % hashlib.sha256(answer.body).hexdigest())
    url = "http://%s/crl/%s.delta.crl" % (enroll.plain, enroll.issuer_name())
    assert enrol.curl(url, "-H", "If-None-Match: " + answer.get("ETag")).status == 304
    assert enrol.curl(url, "-H", "If-Modified-Since: " + answer.get("Last-Modified")).status == 304
    assert "-BEGIN X509 CRL-" in run("openssl", "crl", "-inform", "DER", data=answer.body).stdout.decode()


def test_e45_lists_never_go_back_and_a_change_has_another_tag(enroll, device):
    def number():
        return x509.load_der_x509_crl(served(enroll, "crl").body).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    wait_until(lambda: served(enroll, "crl").status == 200, 10)
    before, tag = number(), served(enroll, "crl").get("ETag")
    enroll.run("device", "revoke", device[0])
    wait_until(lambda: number() > before, 10)
    assert served(enroll, "crl").get("ETag") != tag


def test_gnutls_ocsptool_agrees(enroll, place, device):
    """It asks by POST, with a nonce and without, and verifies the answer and its signer."""
    def said(*argv):
        done = subprocess.run(["ocsptool", "--ask=http://%s/ocsp" % enroll.plain, "--load-issuer", enroll.file("issuing-1.pem"),
                               "--load-cert", os.path.join(place, "device.pem"), "--load-trust", enroll.file("issuing-1.pem"), *argv],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=30)
        return done.returncode, done.stdout.decode()
    for argv in (), ("--nonce",), ("--no-nonce",):
        status, text = said(*argv)
        assert status == 0 and "Certificate Status: good" in text and "Verifying OCSP Response: Success" in text, text
    enroll.run("device", "revoke", device[0], "--reason", "lost")
    status, text = said()
    assert "Certificate Status: revoked" in text and "Success" in text, text


def test_openssl_reads_what_a_get_brings_with_the_fields_that_caches_need(enroll, place, device):
    """RFC 5019: the request in the path; nextUpdate, Expires and max-age end together; unchanged, it is not sent again."""
    _, certificate = device
    request = os.path.join(place, "request.der")
    run("openssl", "ocsp", "-issuer", enroll.file("issuing-1.pem"), "-cert", os.path.join(place, "device.pem"), "-no_nonce", "-reqout", request)
    with open(request, "rb") as f:
        path = base64.b64encode(f.read()).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    url = "http://%s/ocsp/%s" % (enroll.plain, path)
    answer = enrol.curl(url)
    response = ocsp.load_der_ocsp_response(answer.body)
    assert answer.get("Content-Type") == "application/ocsp-response" and response.certificate_status == ocsp.OCSPCertStatus.GOOD
    ends = email.utils.parsedate_to_datetime(answer.get("Expires")).replace(tzinfo=None)
    assert response.this_update <= response.produced_at <= response.next_update and ends == response.next_update
    seconds = int(re.search(r"max-age=(\d+)", answer.get("Cache-Control"))[1])
    assert abs(time.time() + seconds - response.next_update.timestamp() + time.timezone) < 30 or seconds <= 3600
    for word in "public", "no-transform", "must-revalidate":
        assert word in answer.get("Cache-Control")
    assert email.utils.parsedate_to_datetime(answer.get("Last-Modified")).replace(tzinfo=None) == response.this_update
    assert enrol.curl(url, "-H", "If-None-Match: " + answer.get("ETag")).status == 304
    with open(os.path.join(place, "response.der"), "wb") as f:
        f.write(answer.body)
    done = run("openssl", "ocsp", "-issuer", enroll.file("issuing-1.pem"), "-cert", os.path.join(place, "device.pem"), "-no_nonce", "-respin",
               os.path.join(place, "response.der"), "-CAfile", enroll.file("root-1.pem"), "-verify_other", enroll.file("issuing-1.pem"))
    assert b"Response verify OK" in done.stderr + done.stdout and b": good" in done.stdout


def test_e45_the_ocsp_signer_renews_itself_and_every_answer_is_by_a_certificate_that_outlives_it(made, place, pki, accounts):
    accounts.add("carol", display_name="Carol Example", password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    user = "nobody" if os.getuid() == 0 else None
    config = enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), accounts, user,
                                 ca={"ocsp_seconds": 10, "ocsp_signer_seconds": 20})
    enroll = enrol.Enroll(config, place)
    enroll.close = enroll.stop
    made(enroll)
    wait_until(lambda: enrol.curl("http://%s/readyz" % enroll.admin).status == 200, 5)
    name = enroll.ask("device", "add", "--account", "carol", "--kind", "other", "a device")["device"]["id"]
    secret = enroll.ask("secret", "add", "--account", "carol", "--device", name, "--purpose", "est")["secret"]
    certificate = enrol.est_enroll(enroll, "carol", secret)[1]
    path = os.path.join(place, "answer.der")

    def signer(*args):
        """The certificate that signed an answer which `openssl ocsp` finds good."""
        assert enrol.ocsp_status(enroll, certificate, place, "-respout", path, *args)[0] == "good"
        with open(path, "rb") as f:
            answer = ocsp.load_der_ocsp_response(f.read())
        by = answer.certificates[0]
        assert by.not_valid_before <= answer.this_update and answer.next_update <= by.not_valid_after
        assert by.not_valid_after - by.not_valid_before <= datetime.timedelta(seconds=20 + 3600), "backdated by an hour, for slow clocks"
        return by

    first = signer()
    wait_until(lambda: signer().serial_number != first.serial_number, 20, every=1)
    cached = signer("-no_nonce")
    assert cached.public_key().public_numbers() != first.public_key().public_numbers(), "the key is a new one, too"
    assert not enroll.events("ocsp_unsigned") and not enroll.events("ocsp_signer")
