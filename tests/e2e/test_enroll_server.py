"""easenroll's HTTP server, its lists and its OCSP responder, asked by curl, the openssl command line and bare sockets."""
import base64
import hashlib
import os
import re
import socket
import ssl
import subprocess
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from site_ import der, enrol, inside
from site_.accounts import USERS
from site_.http1 import Reader
from site_.process import wait_until



@pytest.fixture
def people(accounts):
    accounts.add("carol", display_name="Carol Example", password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    return accounts


@pytest.fixture
def start_enroll(made, place, pki, people):
    def start(**changes):
        user = "nobody" if os.getuid() == 0 else None
        config = enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), people, user, **changes)
        enroll = enrol.Enroll(config, place)
        enroll.close = enroll.stop
        made(enroll)
        wait_until(lambda: enrol.curl("http://%s/readyz" % enroll.admin).status == 200, 5)
        return enroll
    return start


@pytest.fixture
def enroll(start_enroll):
    return start_enroll()


def a_certificate(enroll, name="carol"):
    """(device id, certificate) by EST with a one-time secret."""
    device = enroll.ask("device", "add", "--account", name, "--kind", "other", "a device")["device"]["id"]
    secret = enroll.ask("secret", "add", "--account", name, "--device", device, "--purpose", "est")["secret"]
    answer, certificate, _ = enrol.est_enroll(enroll, name, secret)
    assert answer.status == 200
    return device, certificate


class Raw:
    """Bytes to the plain listener, answers by the strict reader of these tests."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=10)
        self.reader = Reader(self.sock.recv)

    def ask(self, data, method="GET"):
        self.sock.sendall(data)
        return self.reader.response(method)

    def closed(self):
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def close(self):
        self.sock.close()


@pytest.fixture
def raw(enroll, made):
    return lambda: made(Raw(enroll.plain))


# --- the server ---

@pytest.mark.quick
def test_it_says_that_it_is_alive_and_ready_and_counts(enroll):
    assert enrol.curl("http://%s/healthz" % enroll.admin).body == b"ok\n"
    assert enrol.curl("http://%s/readyz" % enroll.admin).body.startswith(b"ok accepting connections")
    metrics = enrol.curl("http://%s/metrics" % enroll.admin).body.decode()
    assert 'easenroll_requests_total{listener="admin",status="2xx"}' in metrics
    assert re.search(r"^easenroll_certificates\{state=\"live\"\} 0$", metrics, re.M)
    assert enroll.run("status").startswith("easenroll ")


def test_what_is_known_of_accounts_is_mapped_by_the_guard_alone(enroll):
    """Whoever maps it can spoil it, and the guard that waits for its locks."""
    maps = {role: [inside.shared(pid) for pid in pids] for role, pids in inside.by_role(enroll).items()}
    assert {"master", "lockout", "stretch", "directory", "signer", "worker"} <= set(maps)
    others = {what for role, found in maps.items() if role not in ("lockout", "master") for one in found for what in one}
    alone = [size for what, size in maps["lockout"][0].items() if what not in others]
    assert alone and max(alone) > 4 << 20, maps
    for role in ("stretch", "directory", "signer", "worker"):
        assert all(sum(one.values()) < 4 << 20 for one in maps[role]), (role, maps[role])


def test_check_tries_what_the_configuration_names(enroll):
    done = enroll.run("check", check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert b"FAILED" not in done.stdout and b"CA folder" in done.stdout


@pytest.mark.parametrize("names, dates, url, said", [
    (["mail.example.com"], {}, "https://enroll.example.com:8443/x", "is not for enroll.example.com, by which enroll.public_url"),
    (["enroll.example.com"], {"not_after": 1600000000}, "https://enroll.example.com", "has ended: devices refuse it"),
    (["enroll.example.com"], {"not_before": 4000000000, "not_after": 4100000000}, "https://enroll.example.com", "is not valid yet"),
    (["enroll.example.com"], {}, "https://[::1]:8443", "is not for ::1, by which"),
    (["mail.example.com", "enroll.example.com"], {}, "https://enroll.example.com:8443", None),
])
def test_check_says_that_devices_would_refuse_the_certificate(place, pki, people, names, dates, url, said):
    """One listener with a certificate for public_url is enough."""
    config = enrol.configuration(os.path.join(place, "enrol"), pki.root.server(names[0], **dates), people, public_url=url)
    for name in names[1:]:
        certificate, key = pki.root.server(name).write(place, name)
        config["enroll"]["listeners"].append({"address": "127.0.0.1:0", "certificate": certificate, "key": key})
    path = os.path.join(place, "easgate.yaml")
    enrol.write_yaml(path, config)
    done = subprocess.run([enrol.binary("easenroll"), "-c", path, "check"], stdout=subprocess.PIPE, timeout=10)
    lines = [l for l in done.stdout.decode().splitlines() if l.startswith("FAILED  certificate ")]
    assert [said in l for l in lines] == [True] if said else lines == [], done.stdout.decode()


@pytest.mark.parametrize("key, value, expected", [
    ("listeners", [{"address": "nowhere"}], "enroll.listeners\\[0\\]: \"nowhere\" is no address"),
    ("public_url", "http://enroll.example.com", "enroll.public_url: .*expected https://"),
    ("scep", {"challenge": "none"}, "enroll.scep.challenge: \"none\" is none of"),
    ("profiles", [{"name": "a b"}], "enroll.profiles\\[0\\]: name \"a b\""),
    ("ca", {"crl_seconds": 1}, "enroll.ca.crl_seconds: 1 is out of range"),
    ("limits", {"body_bytes": 2000000, "bodies_bytes": 1999999}, "enroll.limits.bodies_bytes: 1999999: expected at least body_bytes"),
    ("nonsense", True, "enroll: unknown key \"nonsense\""),
])
def test_a_wrong_configuration_is_refused_with_file_line_and_key(place, pki, people, key, value, expected):
    config = enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), people, **{key: value})
    path = os.path.join(place, "wrong.yaml")
    enrol.write_yaml(path, config)
    done = subprocess.run([enrol.binary("easenroll"), "-c", path, "check"], stdout=subprocess.PIPE, timeout=10)
    assert done.returncode == 1
    assert re.search(r"FAILED  %s:\d+: (%s)" % (re.escape(path), expected), done.stdout.decode()), done.stdout.decode()


@pytest.mark.parametrize("request_bytes, status", [
    (b"GET /healthz\r\n\r\n", 400),
    (b"GET /a HTTP/1.1\r\n\r\n", 400),
    (b"GET /a HTTP/1.1\nHost: a\n\n", 400),
    (b"GET /a HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n", 400),
    (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    (b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
    (b"POST /ocsp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
    (b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 431),
    (b"GET /a HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 120 + b"\r\n", 431),
    (b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", 505),
], ids=lambda value: value[:24].decode().strip().replace(" ", "_") if isinstance(value, bytes) else str(value))
def test_what_two_readers_could_understand_differently_is_refused_and_the_connection_closed(raw, request_bytes, status):
    line = raw()
    response = line.ask(request_bytes)
    assert response.status == status
    assert response.get("Connection") == "close"
    assert line.closed()


@pytest.mark.parametrize("path", ["//ca/x", "/ca/../crl/x", "/ca/./x", "/%2e%2e/etc/passwd", "/ca/%2fx", "/ca/%00", "/ca/%zz", "/ca\\x"])
def test_a_path_that_could_mean_another_is_refused(raw, path):
    assert raw().ask(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode()).status == 400


def test_a_connection_serves_one_request_after_the_other_and_http_1_0_is_answered(raw):
    line = raw()
    for _ in range(3):
        assert line.ask(b"GET /crl/x HTTP/1.1\r\nHost: a\r\n\r\n").status == 404
    first, second = line.ask(b"GET /crl/x HTTP/1.1\r\nHost: a\r\n\r\nGET /ca/x HTTP/1.1\r\nHost: a\r\n\r\n"), line.reader.response("GET")
    assert (first.status, second.status) == (404, 404)
    assert line.ask(b"GET /crl/x HTTP/1.0\r\nHost: a\r\n\r\n").status == 404
    assert line.closed()


def test_head_has_the_length_and_no_body_and_other_methods_are_named(enroll):
    whole = enrol.curl("http://%s/ca/%s.cer" % (enroll.plain, enroll.issuer_name()))
    head = enrol.curl("http://%s/ca/%s.cer" % (enroll.plain, enroll.issuer_name()), "-I")
    assert (head.status, head.body, head.get("Content-Length")) == (200, b"", str(len(whole.body)))
    wrong = enrol.curl("http://%s/ca/x" % enroll.plain, "-X", "DELETE")
    assert (wrong.status, wrong.get("Allow")) == (405, "GET, HEAD")


def test_a_body_in_chunks_and_one_that_waits_for_100_continue_arrive(enroll):
    for header in ("Transfer-Encoding: chunked", "Expect: 100-continue"):
        answer = enrol.curl("http://%s/ocsp" % enroll.plain, "-H", header, "-H", "Content-Type: application/ocsp-request", data=b"no request")
        assert (answer.status, answer.body) == (200, b"\x30\x03\x0a\x01\x01")


def test_a_slow_head_and_a_silent_connection_are_ended(start_enroll, made):
    enroll = start_enroll(limits={"head_seconds": 1, "body_idle_seconds": 1, "handshake_seconds": 1, "drain_seconds": 2})
    silent, slow, body = (made(Raw(enroll.plain)) for _ in range(3))
    slow.sock.sendall(b"GET / HTTP/1.1\r\nHo")
    body.sock.sendall(b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert slow.reader.response("GET").status == 408
    assert body.reader.response("POST").status == 408
    assert silent.closed()
    assert made(Raw(enroll.tls)).closed()


def test_more_connections_than_allowed_take_the_place_of_idle_ones(start_enroll, made):
    enroll = start_enroll(limits={"connections": 8, "drain_seconds": 2})
    lines = [made(Raw(enroll.plain)) for _ in range(20)]
    assert lines[-1].ask(b"GET /crl/x HTTP/1.1\r\nHost: a\r\n\r\n").status == 404
    assert lines[0].closed()
    assert enrol.curl("http://%s/healthz" % enroll.admin).status == 200


def test_the_plain_listener_serves_neither_portal_nor_api_nor_est_nor_health(enroll):
    for path in ("/", "/api/me", "/api/session", "/.well-known/est/cacerts", "/healthz", "/metrics", "/api/admin/devices"):
        assert enrol.curl("http://%s%s" % (enroll.plain, path)).status == 404, path
    for path in ("/healthz", "/metrics"):
        assert enrol.curl("https://%s%s" % (enroll.tls, path)).status == 404, path


def test_every_tls_answer_has_the_fields_that_browsers_hold_to(enroll):
    page, api = enrol.curl("https://%s/" % enroll.tls), enrol.curl("https://%s/api/me" % enroll.tls)
    for answer in (page, api):
        assert answer.get("Strict-Transport-Security").startswith("max-age=")
        assert answer.get("X-Content-Type-Options") == "nosniff"
        assert "default-src 'none'" in answer.get("Content-Security-Policy")
        assert "unsafe" not in answer.get("Content-Security-Policy")
    assert (page.status, api.status, api.get("Cache-Control")) == (200, 401, "no-store")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_below_1_2_is_refused(enroll):
    host, port = enroll.tls.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection((host, int(port)), timeout=5) as sock, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(sock)


def test_the_commands_are_for_root_and_the_service_user_only(enroll):
    if os.getuid() != 0:
        pytest.skip("needs root to be somebody else")
    done = subprocess.run(["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups", enroll.program, "-c", enroll.path,
                           "device", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=10)
    assert done.returncode == 1 and b"run it as root" in done.stderr


# --- lists ---

def test_a_list_is_served_with_what_caches_need_and_not_sent_twice(enroll):
    url = "http://%s/crl/%s.crl" % (enroll.plain, enroll.issuer_name())
    wait_until(lambda: enrol.curl(url).status == 200, 5)
    answer = enrol.curl(url)
    assert answer.get("Content-Type") == "application/pkix-crl"
    assert answer.get("ETag") == '"%s"' % hashlib.sha256(answer.body).hexdigest()
    assert re.match(r"public, max-age=\d+", answer.get("Cache-Control"))
    assert answer.get("Last-Modified").endswith(" GMT") and answer.get("Expires").endswith(" GMT")
    again = enrol.curl(url, "-H", "If-None-Match: " + answer.get("ETag"))
    assert (again.status, again.body, again.get("ETag")) == (304, b"", answer.get("ETag"))
    assert enrol.curl(url, "-H", "If-Modified-Since: " + answer.get("Last-Modified")).status == 304
    assert enrol.curl(url, "-H", 'If-None-Match: "another"').status == 200


def test_the_issuers_certificate_is_where_certificates_say(enroll):
    _, certificate = a_certificate(enroll)
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    wanted = [d.access_location.value for d in access if d.access_method == x509.AuthorityInformationAccessOID.CA_ISSUERS]
    answer = enrol.curl(wanted[0].replace("enroll.example.com", enroll.plain))
    assert answer.get("Content-Type") == "application/pkix-cert"
    assert x509.load_der_x509_certificate(answer.body) == enroll.issuer()


@pytest.mark.parametrize("name", ["../ca/issuing-1.key", "%2e%2e/enroll/registry.db", "x.crl", "A" * 64 + ".crl", "0" * 64 + ".crl"])
def test_nothing_but_lists_of_ours_comes_out_of_the_folder(raw, name):
    assert raw().ask(b"GET /crl/%s HTTP/1.1\r\nHost: a\r\n\r\n" % name.encode()).status in (400, 404)


def test_a_revocation_is_on_the_list_and_on_the_delta_at_once(enroll):
    device, certificate = a_certificate(enroll)
    assert enrol.crl(enroll).get_revoked_certificate_by_serial_number(certificate.serial_number) is None
    enroll.run("device", "revoke", device, "--reason", "lost")
    wait_until(lambda: enrol.crl(enroll).get_revoked_certificate_by_serial_number(certificate.serial_number) is not None, 2)
    entry = enrol.crl(enroll).get_revoked_certificate_by_serial_number(certificate.serial_number)
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == x509.ReasonFlags.key_compromise


# --- OCSP ---

def test_ocsp_says_good_then_revoked_to_the_openssl_command_line(enroll, place):
    device, certificate = a_certificate(enroll)
    for arguments in ((), ("-no_nonce",)):
        said, text = enrol.ocsp_status(enroll, certificate, place, *arguments)
        assert said == "good" and "WARNING: no nonce" not in text
    enroll.run("device", "revoke", device, "--reason", "lost")
    for arguments in ((), ("-no_nonce",)):
        said, text = enrol.ocsp_status(enroll, certificate, place, *arguments)
        assert said == "revoked" and "Reason: keyCompromise" in text


def test_ocsp_follows_hold_and_release(enroll, place):
    device, certificate = a_certificate(enroll)
    enroll.run("device", "hold", device)
    said, text = enrol.ocsp_status(enroll, certificate, place, "-no_nonce")
    assert said == "revoked" and "certificateHold" in text
    enroll.run("device", "release", device)
    assert enrol.ocsp_status(enroll, certificate, place, "-no_nonce")[0] == "good"


SHA1, SHA256 = bytes.fromhex("06052b0e03021a"), bytes.fromhex("0609608648016503040201")


def asked(enroll, serial, issuer=None, digest="sha1"):
    issuer = issuer or enroll.issuer()
    algorithm = der.sequence(SHA1 if digest == "sha1" else SHA256, b"\x05\x00")
    name, key = (hashlib.new(digest, data).digest() for data in (issuer.subject.public_bytes(), _key_bits(issuer)))
    certificate = der.sequence(algorithm, der.octets(name), der.octets(key), der.integer(serial))
    return der.sequence(der.sequence(der.sequence(der.sequence(certificate))))


def _key_bits(certificate):
    public = certificate.public_key()
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def post(enroll, request):
    return enrol.curl("http://%s/ocsp" % enroll.plain, "-H", "Content-Type: application/ocsp-request", data=request)


def test_an_answer_without_nonce_is_given_again_from_memory_by_get_and_post(enroll):
    _, certificate = a_certificate(enroll)
    request = asked(enroll, certificate.serial_number)
    first = post(enroll, request)
    encoded = base64.b64encode(request).decode()
    for path in (urllib.parse.quote(encoded, safe=""), encoded):
        again = enrol.curl("http://%s/ocsp/%s" % (enroll.plain, path), "--path-as-is")
        assert again.body == first.body
        assert again.get("ETag") == '"%s"' % hashlib.sha256(first.body).hexdigest()
        assert re.match(r"max-age=\d+, public, no-transform, must-revalidate", again.get("Cache-Control"))
    metrics = enrol.curl("http://%s/metrics" % enroll.admin).body.decode()
    assert 'easenroll_ocsp_total{result="cached"} 2' in metrics and 'easenroll_ocsp_total{result="signed"} 1' in metrics


def test_sha256_certids_are_answered(enroll):
    _, certificate = a_certificate(enroll)
    answer = ocsp.load_der_ocsp_response(post(enroll, asked(enroll, certificate.serial_number, digest="sha256")).body)
    assert answer.certificate_status == ocsp.OCSPCertStatus.GOOD


@pytest.mark.parametrize("serial", [1, 2 ** 127 - 1, 2 ** 159 - 1], ids=["short", "long", "longest"])
def test_e45_a_serial_that_was_never_given_out_is_unknown(enroll, serial):
    answer = ocsp.load_der_ocsp_response(post(enroll, asked(enroll, serial)).body)
    assert answer.certificate_status == ocsp.OCSPCertStatus.UNKNOWN


def test_an_issuer_that_is_none_of_ours_is_unauthorized(enroll, pki):
    answer = ocsp.load_der_ocsp_response(post(enroll, asked(enroll, 1, issuer=pki.device_ca.cert)).body)
    assert answer.response_status == ocsp.OCSPResponseStatus.UNAUTHORIZED


@pytest.mark.parametrize("change", ["cut", "more", "flip", "empty", "long"])
def test_a_request_that_is_none_is_malformed(enroll, change):
    good = asked(enroll, 1)
    wrong = {"cut": good[:-1], "more": good + b"\0", "flip": b"\x31" + good[1:], "empty": b"", "long": b"\x30\x84\x7f\xff\xff\xff" + good}[change]
    assert post(enroll, wrong).body == b"\x30\x03\x0a\x01\x01"


def test_e45_ten_thousand_questions_in_one_or_in_a_path_cost_nothing_and_are_refused(enroll, raw):
    _, certificate = a_certificate(enroll)
    one = asked(enroll, certificate.serial_number)
    single = der.sequence(der.sequence(SHA1, b"\x05\x00"), der.octets(b"n" * 20), der.octets(b"k" * 20), der.integer(7))
    for n, statuses in ((2, (200,)), (100, (200,)), (10000, (200, 413))):
        answer = post(enroll, der.sequence(der.sequence(der.sequence(*[der.sequence(single)] * n))))
        assert answer.status in statuses
        assert answer.status == 413 or answer.body in (b"\x30\x03\x0a\x01\x01", b"\x30\x03\x0a\x01\x06"), n
    encoded = base64.b64encode(one).decode()
    for path in ("A" * 60000, "../" * 20 + "etc/passwd", "%2e%2e%2f" * 5 + "registry.db", encoded[:-4] + "%00", encoded + "/" + encoded):
        answer = raw().ask(b"GET /ocsp/%s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
        assert answer.status in (400, 404, 414, 431) or answer.body == b"\x30\x03\x0a\x01\x01", path[:30]
    assert ocsp.load_der_ocsp_response(post(enroll, one).body).certificate_status == ocsp.OCSPCertStatus.GOOD


def test_e45_a_nonce_comes_back_as_long_as_one_may_be(enroll):
    _, certificate = a_certificate(enroll)
    for n, comes_back in ((1, True), (32, True), (128, True), (129, False), (2000, False)):
        request = ocsp.OCSPRequestBuilder().add_certificate(certificate, enroll.issuer(), hashes.SHA256()).add_extension(
            x509.OCSPNonce(os.urandom(n)), False).build()
        answer = post(enroll, request.public_bytes(serialization.Encoding.DER)).body
        if comes_back:
            found = ocsp.load_der_ocsp_response(answer)
            sent = request.extensions.get_extension_for_class(x509.OCSPNonce).value
            assert found.extensions.get_extension_for_class(x509.OCSPNonce).value == sent, n
        elif answer != b"\x30\x03\x0a\x01\x01":
            assert not list(ocsp.load_der_ocsp_response(answer).extensions), n


def test_a_content_type_that_is_not_ocsps_is_415(enroll):
    assert enrol.curl("http://%s/ocsp" % enroll.plain, "-H", "Content-Type: text/plain", data=asked(enroll, 1)).status == 415
