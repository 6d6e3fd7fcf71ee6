"""TLS with phones, good and hostile ones: versions, names, ALPN, and what a handshake may cost (P18 to P25)."""
import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import pytest

from site_ import der, rawtls, settings
from site_.device import EAS, s_client
from site_.hosts import TLS12, TLS13, cpu_seconds, is_sanitized, second_host, worker_rss
from site_.pki import Authority, raw_extension
from site_.proxy import Proxy

@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example", cn="alice's phone")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend))


@pytest.fixture
def optional_proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend, changes=settings.OPTIONAL))


def served_within(device, seconds):
    """A whole new connection and request in this time."""
    began = time.monotonic()
    with device.connect() as line:
        assert line.request("OPTIONS", EAS).status == 200
    took = time.monotonic() - began
    assert took < seconds, "took %.2f s" % took


# versions and ciphers

@pytest.mark.quick
@pytest.mark.parametrize("version,ciphers", [(TLS13, {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"}),
                                             (TLS12, {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"})])
def test_a_phone_is_served_by_tls_1_3_and_1_2_with_forward_secrecy(proxy, phone, alice, version, ciphers):
    device = phone(proxy, alice, versions=(version, version))
    assert device.sync().status == 200
    assert device.line.sock.cipher()[0] in ciphers


@pytest.mark.parametrize("flag", ["-tls1", "-tls1_1"])
def test_tls_1_0_and_1_1_are_refused(proxy, alice, flag):
    shown = s_client(proxy.address(), flag, "-cipher", "ALL:@SECLEVEL=0", identity=alice)
    assert "alert protocol version" in shown or "unsupported protocol" in shown, shown
    assert "Cipher is (NONE)" in shown or "Cipher    : 0000" in shown


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "NULL", "aNULL"])
def test_a_cipher_without_forward_secrecy_or_authenticated_encryption_is_refused(proxy, alice, cipher):
    shown = s_client(proxy.address(), "-tls1_2", "-cipher", cipher + ":@SECLEVEL=0", identity=alice)
    assert "handshake failure" in shown or "no ciphers available" in shown, shown


# names

def test_a_name_that_no_host_has_gets_an_alert_and_no_certificate(proxy, phone, alice):
    assert phone(proxy, alice, server_name="elsewhere.example.org").refusal().endswith("unrecognized name")
    assert proxy.wait_event("handshake_failed", reason="name")["detail"] == "no host is named 'elsewhere.example.org'"


@pytest.mark.parametrize("name", [b"mail.example.com\0.evil.example", b"", b"a" * 300, b"mail.example.com."])
def test_p31_a_name_with_a_nul_or_of_wrong_length_is_not_the_host(proxy, name):
    hello = rawtls.client_hello("x" * 63)
    assert hello.count(b"x" * 63) == 1
    if len(name) <= 63 and name:
        hello = _with_name(hello, b"x" * 63, name)
    else:
        hello = _with_name(rawtls.client_hello("x" * 63), b"x" * 63, name)
    with rawtls.RawTls(proxy.address()) as client:
        client.send(hello)
        assert client.answer() in ("unrecognized name", "decode error")


def _with_name(hello, old, new):
    """The ClientHello record with another host_name, every length above it put right."""
    at = hello.index(old)
    change = len(new) - len(old)
    out = bytearray(hello[:at] + new + hello[at + len(old):])
    for where in (at - 2, at - 5, at - 7):              # name, list, extension
        out[where:where + 2] = (int.from_bytes(hello[where:where + 2], "big") + change).to_bytes(2, "big")
    extensions = _extensions_at(hello)
    for where, size in ((extensions, 2), (6, 3), (3, 2)):
        out[where:where + size] = (int.from_bytes(hello[where:where + size], "big") + change).to_bytes(size, "big")
    return bytes(out)


def _extensions_at(hello):
    """Where the length of all extensions stands: behind version, random, session id, ciphers and compressions."""
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at:at + 2], "big")
    return at + 1 + hello[at]


def test_a_phone_that_sends_no_name_is_served_by_the_first_host(
        start_proxy, configure, backend, pki, place, alice):
    proxy = start_proxy(second_host(configure(backend), pki, place))
    shown = s_client(proxy.address(), identity=alice, server_name=None,
                     send=b"OPTIONS %s HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n\r\n" % EAS.encode())
    assert "subject=CN=mail.example.com" in shown.replace(" = ", "=") and "HTTP/1.1 200" in shown


def test_names_are_compared_without_case_and_each_host_shows_its_own_certificate(
        start_proxy, configure, backend, pki, place, phone, alice):
    proxy = start_proxy(second_host(configure(backend), pki, place))
    for name, subject in (("MAIL.Example.COM", "mail.example.com"), ("Other.EXAMPLE.com", "other.example.com")):
        with phone(proxy, alice, server_name=name).connect() as line:
            assert dict(x[0] for x in line.sock.getpeercert()["subject"])["commonName"] == subject
            assert line.request("OPTIONS", EAS, host=name).status == 200


@pytest.mark.quick
def test_p22_a_request_for_another_host_than_the_connections_is_421_and_closed(
        start_proxy, configure, backend, pki, place, phone, alice):
    proxy = start_proxy(second_host(configure(backend), pki, place))
    for name, host in (("mail.example.com", "other.example.com"), ("other.example.com", "mail.example.com"),
                       ("mail.example.com", "nobody.example.com")):
        with phone(proxy, alice, server_name=name).connect() as line:
            assert line.request("OPTIONS", EAS, host=host).status == 421
            assert line.closed()
    assert backend.requests == []
    proxy.log.wait(lambda _: len(proxy.events("refused", reason="wrong-host")) == 3, 3, what="three lines of audit")


def test_p22_another_name_of_the_same_host_and_a_port_are_no_mismatch(proxy, phone, alice):
    with phone(proxy, alice).connect() as line:
        for host in ("autodiscover.example.com", "mail.example.com:443", "MAIL.example.com"):
            assert line.request("OPTIONS", EAS, host=host).status == 200


# ALPN

def test_http_1_1_is_chosen_by_alpn_and_a_client_that_has_only_http_2_is_refused(proxy, phone, alice):
    with phone(proxy, alice, alpn=["h2", "http/1.1"]).connect() as line:
        assert line.sock.selected_alpn_protocol() == "http/1.1"
        assert line.request("OPTIONS", EAS).status == 200
    assert "application protocol" in phone(proxy, alice, alpn=["h2"]).refusal()
    with phone(proxy, alice).connect() as line:
        assert line.sock.selected_alpn_protocol() is None


# client certificates

def test_a_phone_without_a_certificate_gets_403_where_one_is_optional_and_401_only_where_passwords_are_on(
        start_proxy, configure, backend, phone):
    one = start_proxy(configure(backend, changes=settings.OPTIONAL, node="one"))
    assert phone(one).sync().status == 403
    assert one.wait_event("refused", reason="no-certificate")
    two = start_proxy(configure(backend, changes=settings.PASSWORDS, node="two"))
    response = phone(two).sync()
    assert response.status == 401 and response.get("WWW-Authenticate").startswith("Basic")
    assert backend.requests == []


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_wrong_certificate_where_none_is_demanded_gets_403_and_never_a_session(optional_proxy, phone, pki, backend, version):
    now = int(time.time())
    wrong = {"certificate-untrusted": pki.other_ca.device("alice@corp.example"),
             "certificate-expired": pki.device_ca.device("alice@corp.example", not_before=now - 9000, not_after=now - 60)}
    for reason, identity in wrong.items():
        device = phone(optional_proxy, identity, versions=(version, version))
        for headers in ([], [("Authorization", "Basic YWxpY2U6eA==")]):
            with device.connect() as line:
                response = line.request("POST", device.target("Sync"), headers)
                assert response.status == 403 and not response.all("WWW-Authenticate") and line.closed()
        said = optional_proxy.wait_event("refused", reason=reason)
        assert said["audit"] is True and said["certificate"] == identity.sha256 and "issued by" in said["detail"]
        if version == TLS13:
            assert not device.connect().sock.session_reused
    assert backend.requests == []


def test_a_certificate_that_is_no_devices_or_has_a_costly_key_ends_in_an_alert_even_where_none_is_demanded(optional_proxy, phone, pki, backend):
    for identity in (pki.device_ca, ):
        assert phone(optional_proxy, identity).refusal()
    line = optional_proxy.wait_event("handshake_refused", reason="certificate")
    assert "a CA's certificate" in line["detail"]
    assert backend.requests == []


def test_a_certificate_without_its_key_is_refused(proxy, pki, alice):
    """TLS 1.2 by hand: the right certificate, and a CertificateVerify that somebody else's key made."""
    with rawtls.RawTls(proxy.address()) as client:
        client.send(rawtls.client_hello(maximum=TLS12))
        client.until_server_hello_done()
        client.send(rawtls.records(rawtls.HANDSHAKE, rawtls.certificate_message([alice.der, pki.device_ca.der])))
        client.send(rawtls.records(rawtls.HANDSHAKE, rawtls.message(16, b"\x20" + b"\x09" + b"\0" * 31)))     # X25519
        client.send(rawtls.records(rawtls.HANDSHAKE, rawtls.message(15, b"\x04\x03\0\x08" + b"\x30\x06\x02\x01\x01\x02\x01\x01")))
        assert client.answer() in ("decrypt error", "handshake failure", "decode error")


# what must be off

@pytest.mark.quick
def test_p21_renegotiation_asked_for_by_the_client_is_refused(proxy, alice):
    """`R` makes s_client renegotiate."""
    with tempfile.TemporaryDirectory() as directory:
        cert, key = alice.write(directory, "device")
        client = subprocess.Popen(["openssl", "s_client", "-connect", proxy.address(), "-servername", "mail.example.com",
                                   "-tls1_2", "-cert", cert, "-cert_chain", cert, "-key", key], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        shown = b""
        while b"Extended master secret" not in shown:
            shown += client.stdout.read1(65536)
        client.stdin.write(b"R\n")
        client.stdin.flush()
        shown += client.communicate(timeout=10)[0]
    assert b"RENEGOTIATING" in shown and b"no renegotiation" in shown, shown[-400:]


def test_p21_a_phone_that_offers_post_handshake_authentication_is_never_asked(optional_proxy, phone, alice, backend):
    device = phone(optional_proxy)
    device.context.post_handshake_auth = True
    with tempfile.TemporaryDirectory() as directory:
        with device.connect() as line:          # the certificate comes too late to be one of the handshake's
            device.context.load_cert_chain(*alice.write(directory, "device"))
            assert line.request("OPTIONS", EAS).status == 403
    assert backend.requests == []


def test_p21_early_data_is_neither_offered_nor_taken(proxy, alice, backend, place):
    """A session is given a size of early data that the server never allowed, so that the client does send some."""
    request = b"POST %s?Cmd=Sync&User=alice&DeviceId=A&DeviceType=B HTTP/1.1\r\nHost: mail.example.com\r\n" \
        b"Content-Length: 0\r\nX-Early: yes\r\n\r\n" % EAS.encode()
    options = b"OPTIONS %s HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n\r\n" % EAS.encode()
    session, early = os.path.join(place, "session"), os.path.join(place, "early")
    shown = s_client(proxy.address(), "-tls1_3", "-sess_out", session, identity=alice, send=options)
    assert "Max Early Data: 0" in shown
    with open(session, "rb") as f:
        pem = f.read()
    with open(session, "wb") as f:
        f.write(_with_early_data(pem))
    with open(early, "wb") as f:
        f.write(request)
    shown = s_client(proxy.address(), "-tls1_3", "-sess_in", session, "-early_data", early, identity=alice, send=options)
    assert "Early data was rejected" in shown, shown
    assert all(not r.all("X-Early") for r in backend.requests)


def _with_early_data(pem):
    """SSL_SESSION with max_early_data [15] of 16384 in its place: before [16] and up."""
    import base64
    body = base64.b64decode(b"".join(pem.split(b"\n")[1:-2]))
    size = 2 + (body[1] & 0x7F if body[1] & 0x80 else 0)
    rest, out, added = body[size:], b"", False
    while rest:
        head = 2 + (rest[1] & 0x7F if rest[1] & 0x80 else 0)
        length = int.from_bytes(rest[2:head], "big") if rest[1] & 0x80 else rest[1]
        if not added and rest[0] >= 0xA0 + 15:
            out, added = out + der.context(15, der.integer(16384)), True
        out, rest = out + rest[:head + length], rest[head + length:]
    if not added:
        out += der.context(15, der.integer(16384))
    text = base64.encodebytes(der.sequence(out))
    return b"-----BEGIN SSL SESSION PARAMETERS-----\n" + text + b"-----END SSL SESSION PARAMETERS-----\n"


# what a handshake may cost

@pytest.mark.quick
def test_p23_half_open_handshakes_end_in_time_and_hinder_nobody(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, changes={"proxy.limits.handshake_seconds": 2}))
    device = phone(proxy, alice)
    served_within(device, 2)
    hello = rawtls.client_hello()
    clients = [rawtls.RawTls(proxy.address()) for _ in range(300)]
    try:
        for number, client in enumerate(clients):
            client.send((b"", hello[:number], hello)[number % 3])
        for _ in range(5):
            served_within(device, 1)
        for client in clients:
            client.answer(patience=6)
            assert client.sock.recv(1) == b""
    finally:
        for client in clients:
            client.close()
    assert proxy.metric("easproxy_handshakes_total", result="timeout") == 300
    served_within(device, 1)


def test_p23_when_half_open_handshakes_take_every_place_the_next_phone_is_served_after_their_time(
        start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, changes={"proxy.limits.handshake_seconds": 1, "proxy.sessions": 20}))
    clients = [rawtls.RawTls(proxy.address()) for _ in range(30)]
    try:
        assert proxy.wait_event("accept_paused", timeout=3)
        served_within(phone(proxy, alice), 5)
    finally:
        for client in clients:
            client.close()


def test_p23_a_flood_of_whole_handshakes_leaves_room_for_others(proxy, phone, alice, pki):
    """Eight clients as fast as they can, without and with a certificate, for two seconds."""
    until = time.monotonic() + 2
    counts = []

    def flood(device):
        count = 0
        while time.monotonic() < until:
            try:
                device.connect().close()
            except (ssl.SSLError, OSError):
                pass
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=flood, args=(phone(proxy, alice if n % 2 else None),)) for n in range(8)]
    before = worker_rss(proxy)
    device = phone(proxy, alice)
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        served_within(device, 2)
    for thread in threads:
        thread.join()
    assert sum(counts) > 100
    if not is_sanitized(proxy):                         # which keeps what was freed
        assert worker_rss(proxy) - before < 32 << 20


def _answer_to(proxy, data, patience=3.0):
    with rawtls.RawTls(proxy.address()) as client:
        try:
            client.send(data)
        except (BrokenPipeError, ConnectionResetError):
            return "closed"
        return client.answer(patience)


def test_p23_a_client_hello_of_100_kilobytes_is_cut_off(proxy, phone, alice):
    body = rawtls.client_hello()[9:]
    padding = b"\0\x15\xff\xff" + b"\0" * 65535
    huge = rawtls.message(1, body + padding + padding[:40000])
    assert _answer_to(proxy, rawtls.records(rawtls.HANDSHAKE, huge)) in (
        "decode error", "illegal parameter", "closed", "unexpected message")
    # announced, and then never sent
    assert _answer_to(proxy, rawtls.records(rawtls.HANDSHAKE, b"\1\xff\xff\xff" + body)) in (
        "decode error", "illegal parameter", "closed")
    served_within(phone(proxy, alice), 1)


def test_p23_a_client_hello_in_records_of_one_byte_is_read_or_refused_at_once(proxy, phone, alice):
    hello = rawtls.client_hello()
    assert _answer_to(proxy, rawtls.records(rawtls.HANDSHAKE, hello[5:], size=1), patience=1) != "internal error"
    assert _answer_to(proxy, rawtls.records(rawtls.HANDSHAKE, b"") + b"\x16\3\3\0\0" * 100) in (
        "unexpected message", "closed", "decode error")
    served_within(phone(proxy, alice), 1)


@pytest.mark.parametrize("what", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x80\x2e\1\0\2" + b"\0" * 43, b"\xff" * 4096,
                                  b"\x15\3\3\0\2\2\x28", b"\x17\3\3\0\5hello", b"\x16\3\3\xff\xff" + b"\1" * 70000],
                         ids=["http", "sslv2", "noise", "alert", "data", "record-of-64k"])
def test_p23_what_is_not_tls_ends_the_connection_with_one_line(proxy, phone, alice, what):
    assert _answer_to(proxy, what) not in ("accepted", "internal error")
    assert proxy.wait_event("handshake_failed")
    served_within(phone(proxy, alice), 1)


def test_p23_a_chain_of_100_certificates_is_refused_before_it_costs_much(proxy, phone, pki, alice):
    authority, chain = pki.root, []
    for number in range(19):
        authority = Authority("CN=Link %d" % number, parent=authority)
        chain.insert(0, authority.der)
    served_within(phone(proxy, alice), 1)
    before = cpu_seconds(proxy)
    assert rawtls.present(proxy.address(), [authority.device("alice@corp.example").der, *chain]) != "accepted"
    assert rawtls.present(proxy.address(), [alice.der] + [pki.device_ca.der] * 99) != "accepted"
    assert cpu_seconds(proxy) - before < 0.5
    served_within(phone(proxy, alice), 1)


def _key_of_16384_bits():
    """An RSA key of sixteen primes: its modulus is as long as one of two, and it is made in a second."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    primes = []
    while len(primes) < 16:
        numbers = rsa.generate_private_key(65537, 2048).private_numbers()
        primes += [numbers.p, numbers.q]
    modulus = 1
    for prime in primes:
        modulus *= prime
    return rsa.RSAPublicNumbers(65537, modulus)


def test_p23_an_rsa_key_of_16384_bits_is_refused_unused(proxy, phone, pki, alice):
    big = _key_of_16384_bits()
    spki = der.sequence(der.sequence(der.oid("1.2.840.113549.1.1.1"), b"\5\0"),
                        der.bits(der.sequence(der.integer(big.n), der.integer(big.e))))
    leaf = pki.device_ca.reissue(alice, alice.spki, spki).der
    before = cpu_seconds(proxy)
    assert rawtls.present(proxy.address(), [leaf, pki.device_ca.der]) not in ("accepted", "closed")
    assert proxy.wait_event("handshake_refused", detail=re.compile("8192 bits"))
    assert cpu_seconds(proxy) - before < 0.5
    served_within(phone(proxy, alice), 1)


def _explicit_curve(p, a=None, b=None):
    """SubjectPublicKeyInfo with explicit parameters: P-256's, or those of CVE-2022-0778 with a p that is no prime."""
    prime = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffff
    order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
    a = prime - 3 if a is None else a
    b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b if b is None else b
    size = (p.bit_length() + 7) // 8
    generator = b"\3" + bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")[-size:].rjust(size, b"\0")
    field = der.sequence(der.oid("1.2.840.10045.1.1"), der.integer(p))
    curve = der.sequence(der.octets(a.to_bytes(size, "big")), der.octets(b.to_bytes(size, "big")))
    parameters = der.sequence(der.integer(1), field, curve, der.octets(generator), der.integer(order), der.integer(1))
    return der.sequence(der.sequence(der.oid("1.2.840.10045.2.1"), parameters), der.bits(generator))


@pytest.mark.parametrize("spki", [
    _explicit_curve(0xffffffff00000001000000000000000000000000ffffffffffffffffffffffff),
    _explicit_curve(697, a=0x17, b=0x17)], ids=["p-256-spelled-out", "cve-2022-0778"])
def test_p23_a_key_on_a_curve_with_explicit_parameters_is_refused_and_does_not_hang(proxy, phone, pki, alice, spki):
    leaf = pki.device_ca.reissue(alice, alice.spki, spki).der
    assert rawtls.present(proxy.address(), [leaf, pki.device_ca.der], patience=2) not in ("accepted", "closed")
    served_within(phone(proxy, alice), 1)


@pytest.mark.parametrize("kind", ["p384", "p521", "rsa2048", "rsa3072"])
def test_ordinary_keys_of_other_kinds_are_served(proxy, phone, pki, kind):
    from site_.pki import new_key
    assert phone(proxy, pki.device_ca.device("alice@corp.example", key=new_key(kind))).sync().status == 200


def test_p23_a_tree_of_policies_that_grows_with_each_link_is_bounded(start_proxy, configure, backend, phone, pki, alice, place):
    """CVE-2023-0464: each CA maps two policies to both of the next one's, so that paths double with every link."""
    policies = ["1.3.6.1.4.1.55555.%d" % n for n in range(16)]
    certificate_policies = raw_extension("2.5.29.32", der.sequence(*(der.sequence(der.oid(p)) for p in policies)))
    mappings = raw_extension("2.5.29.33", der.sequence(*(
        der.sequence(der.oid(a), der.oid(b)) for a in policies for b in policies)))
    authority = top = Authority("CN=Policy Root")
    chain = []
    for number in range(7):
        authority = Authority("CN=Policy %d" % number, parent=authority, extensions=[certificate_policies, mappings])
        chain.insert(0, authority.der)
    leaf = authority.device("alice@corp.example", extensions=[certificate_policies])
    anchors = os.path.join(place, "anchors.pem")
    with open(anchors, "wb") as f:
        f.write(top.pem + pki.device_ca.pem)
    proxy = start_proxy(configure(backend, changes={"proxy.hosts.0.client_ca": [anchors]}))
    before = cpu_seconds(proxy)
    rawtls.present(proxy.address(), [leaf.der, *chain], patience=5)
    assert cpu_seconds(proxy) - before < 1.5
    served_within(phone(proxy, alice), 2)


def test_p30_an_openssl_with_known_holes_is_not_run_with(configure, backend, place):
    """The library is told to call itself 3.0.2: the program says which fixes are missing and does not start."""
    source, library = os.path.join(place, "old.c"), os.path.join(place, "old.so")
    with open(source, "w") as f:
        f.write("unsigned OPENSSL_version_minor(void) { return 0; }\nunsigned OPENSSL_version_patch(void) { return 2; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    proxy = Proxy(configure(backend), place, wait=False, env={
        "LD_PRELOAD": library, "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0:exitcode=99"})
    try:
        assert proxy.log.wait(lambda line: "lacks security fixes" in str(line), 10)
        assert proxy.daemon.wait(10) == 1
    finally:
        proxy.kill()


def test_p26_phones_that_vanish_at_any_moment_leave_nothing_behind(proxy, phone, alice, backend):
    """In the midst of the handshake, of the questions to other processes, and of the answer."""
    device = phone(proxy, alice)
    served_within(device, 1)
    request = b"OPTIONS %s HTTP/1.1\r\nHost: mail.example.com\r\n\r\n" % EAS.encode()
    hello = rawtls.client_hello()
    for number in range(300):
        with rawtls.RawTls(proxy.address()) as client:
            client.send(hello[:1 + number * len(hello) // 300])
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with device.connect() as line:
            line.send(request[:number] if number < len(request) else request * (1 + number % 3))
            line.vanish()
    served_within(device, 1)
    deadline = time.monotonic() + 5
    while (left := proxy.metric("easproxy_sessions")) > 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == 0
    assert proxy.metric("easproxy_process_restarts_total") == 0


def test_p23_connections_that_are_closed_before_a_byte_cost_nothing(proxy, phone, alice):
    served_within(phone(proxy, alice), 1)
    before = worker_rss(proxy)
    for _ in range(2000):
        socket.create_connection(("127.0.0.1", int(proxy.address().rpartition(":")[2]))).close()
    served_within(phone(proxy, alice), 2)
    if not is_sanitized(proxy):
        assert worker_rss(proxy) - before < 8 << 20
