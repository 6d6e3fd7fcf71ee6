"""Requests that no honest client sends, over the wire to the running program. The numbers are those of facts/threats.md, E40 to E44."""
import base64
import concurrent.futures
import datetime
import hashlib
import os
import pathlib
import random
import shutil
import socket
import sqlite3
import ssl
import tempfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from site_ import der, enrol, scep
from site_.http1 import Reader
from site_.process import wait_until
from site_.proxy import binary
from site_.ways import PASSWORD, run, running

UPN, SID = "1.3.6.1.4.1.311.20.2.3", "1.3.6.1.4.1.311.25.2"
ADMIN = "S-1-5-21-1-2-3-500"


@pytest.fixture(scope="module")
def site(site_dir):
    """One for all that leaves it as it was but for more devices; a test that changes it has its own."""
    place = tempfile.mkdtemp(prefix="m-", dir=site_dir)
    os.chmod(place, 0o755)
    with running(place, profiles=[{"name": "mail"}, {"name": "wifi"}], portal={"devices_per_user": 1000},
                 lockout={"attempts": 100, "address_attempts": 10000}) as site:
        site.accounts.add("bob", display_name="Bob Example")
        assert site.program.reload()["event"] == "reloaded"
        yield site
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def key():
    return scep.new_key()


@pytest.fixture(scope="module")
def another_key():
    return scep.new_key()


def fresh():
    return os.urandom(8).hex()


def refused(reply, fail_info="2"):
    return (reply.http_status, reply.status, reply.fail_info, reply.inside) == (200, "2", fail_info, None)


def loaded(reply):
    assert reply.status == "0", (reply.http_status, reply.status, reply.fail_info)
    return x509.load_der_x509_certificate(reply.certificate)


def est(site, csr, user="alice", secret=PASSWORD, operation="simpleenroll", body=None):
    """(status, certificate or None)"""
    path = pathlib.Path(tempfile.mkdtemp(dir=site.place))
    (path / "body").write_bytes(base64.b64encode(csr) if body is None else body)
    status = site.curl("-o", path / "answer", "-w", "%{http_code}", "-u", "%s:%s" % (user, secret), "-H", "Content-Type: application/pkcs10",
                       "--data-binary", "@%s" % (path / "body"), "%s/.well-known/est/%s" % (site.est, operation), good=False)
    if status != b"200":
        return int(status), None
    pem = run("openssl", "pkcs7", "-inform", "DER", "-print_certs", data=base64.b64decode((path / "answer").read_bytes())).stdout
    return 200, x509.load_pem_x509_certificate(pem)


def san(*names):
    return der.extension("2.5.29.17", der.sequence(*names))


def upn(value):
    return der.context(0, der.oid(UPN), der.context(0, der.utf8(value)))


def sid(value):
    inner = der.context(0, der.oid(SID + ".1"), der.context(0, der.octets(value.encode())))
    return der.extension(SID, der.sequence(inner))


def about(certificate):
    """What a certificate says, but for its key, serial and dates."""
    return certificate.subject.public_bytes(), [(e.oid.dotted_string, e.critical, e.value.public_bytes()) for e in certificate.extensions
                                                if e.oid.dotted_string != "2.5.29.14"]


def ekus(*dotted):
    return der.extension("2.5.29.37", der.sequence(*map(der.oid, dotted)))


# --- E40: whose certificate it becomes ---

OTHERS = san(upn("Administrator@corp.example"), der.context(1, b"root@corp.example", constructed=False)) + sid(ADMIN)


@pytest.mark.parametrize("way", ["scep", "est"])
def test_e40_names_that_a_request_asks_for_never_reach_the_certificate(site, key, way):
    plain, asking = scep.request(key, subject=scep.name("x")), None
    if way == "scep":
        client = site.client(key=key)
        usual = loaded(client.enroll(csr=scep.request(key, site.secret()), transaction=fresh()))
        asking = loaded(client.enroll(csr=scep.request(key, site.secret(), extensions=OTHERS), transaction=fresh()))
    else:
        _, usual = est(site, plain, secret=site.secret("est"))
        _, asking = est(site, scep.request(key, extensions=OTHERS), secret=site.secret("est"))
    assert about(asking) == about(usual)
    text = asking.public_bytes(serialization.Encoding.DER)
    assert b"Administrator" not in text and b"root@" not in text and ADMIN.encode() not in text
    named = [detail for action, detail in site.trail() if action == "request_names_another"]
    assert any("Administrator" in detail and ADMIN in detail for detail in named)


def test_e40_a_secret_is_good_for_its_profile_and_its_purpose_alone(site, key):
    secret = site.secret()
    client = scep.Client(site.scep + "/wifi", site.ra.read_bytes(), key=key)
    assert refused(client.enroll(secret, fresh()))
    assert est(site, scep.request(key), secret=secret)[0] == 401
    assert refused(site.client(key=key).enroll(site.secret("est"), fresh()))
    assert site.client(key=key).enroll(secret, fresh()).status == "0"
    assert refused(site.client(key=key).enroll(secret, fresh()))


def test_e40_a_secret_of_one_user_makes_no_certificate_for_another(site, key):
    secret = site.secret("est", "bob")
    assert est(site, scep.request(key), "alice", secret)[0] == 401
    _, certificate = est(site, scep.request(key, subject=scep.name("alice")), "bob", secret)
    assert "Bob Example" in certificate.subject.rfc4514_string()


def test_e40_a_secret_ends_with_its_time(place, key):
    with running(place, secrets={"seconds": 1}) as site:
        secret = site.secret()
        ends = datetime.datetime.now() + datetime.timedelta(seconds=2.1)
        wait_until(lambda: datetime.datetime.now() > ends, 5)
        assert refused(site.client(key=key).enroll(secret, fresh()))
        assert site.live() == 0


# --- E41: what a certificate may be used for, and which keys are worth one ---

ASKED = {
    "to be a CA": der.extension("2.5.29.19", der.sequence(der.boolean(True)), critical=True),
    "to sign certificates": der.extension("2.5.29.15", der.bits(b"\x06", 1), critical=True),
    "any purpose": ekus("2.5.29.37.0"),
    "to sign in with a smart card": ekus("1.3.6.1.4.1.311.20.2.2"),
    "to enrol for others": ekus("1.3.6.1.4.1.311.20.2.1"),
    "a template": der.extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1E, "User".encode("utf-16-be"))),
    "a policy of its own": der.extension("1.3.6.1.4.1.99999.1", der.octets(b"x"), critical=True),
    "the same twice": ekus("1.3.6.1.5.5.7.3.1") + ekus("1.3.6.1.5.5.7.3.2"),
    "what cannot be read": der.extension("2.5.29.17", b"\x30\x84\xff\xff\xff\xff"),
}


@pytest.fixture(scope="module")
def usual(site, key):
    return about(est(site, scep.request(key))[1])


@pytest.mark.parametrize("what", ASKED)
def test_e41_a_request_may_ask_what_it_likes_and_gets_what_everybody_gets(site, key, usual, what):
    status, certificate = est(site, scep.request(key, extensions=ASKED[what]))
    assert status == 200 and about(certificate) == usual


def test_e41_an_extension_of_a_million_bytes_is_refused(site, key):
    huge = scep.request(key, extensions=der.extension("1.3.6.1.4.1.99999.1", der.octets(bytes(1 << 20))))
    assert est(site, huge)[0] in (400, 413)
    assert site.client(key=key).enroll(csr=huge, transaction=fresh()).http_status in (400, 413)


def roca(bits=2048):
    """A key as the Infineon library made them (CVE-2017-15361): primes k * M + 65537^a mod M."""
    primes = [n for n in range(2, 702) if all(n % d for d in range(2, int(n ** 0.5) + 1))][:126]
    product = 1
    for p in primes:
        product *= p

    def prime():
        while True:
            k = random.getrandbits(bits // 2 - product.bit_length()) | 1 << (bits // 2 - product.bit_length() - 1)
            n = k * product + pow(65537, random.randrange(1, 1 << 60), product)
            if n.bit_length() == bits // 2 and n >> (bits // 2 - 2) == 3 and all(pow(a, n - 1, n) == 1 for a in (2, 3, 5)):
                return n

    p, q = prime(), prime()
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def close_primes(bits=2048):
    """Fermat finds them at once (CVE-2022-26320)."""
    def next_prime(n):
        n |= 1
        while not all(pow(a, n - 1, n) == 1 for a in (2, 3, 5)):
            n += 2
        return n

    p = next_prime(random.getrandbits(bits // 2) | 3 << (bits // 2 - 2))
    while True:
        q = next_prime(p + 2)
        if (p - 1) % 65537 and (q - 1) % 65537:
            d = pow(65537, -1, (p - 1) * (q - 1))
            return rsa.RSAPrivateNumbers(q, p, d, d % (q - 1), d % (p - 1), pow(p, -1, q), rsa.RSAPublicNumbers(65537, p * q)).private_key()
        p = q


class Exponent1:
    """Who signs with e = 1 need not have a key: the signature is the padded digest itself."""

    def __init__(self, key):
        self.n = key.public_key().public_numbers().n
        self.spki = der.sequence(der.sequence(der.oid(scep.RSA), scep.NULL), der.bits(der.sequence(der.integer(self.n), der.integer(1))))

    def sign(self, data, padding, algorithm):
        info = der.sequence(der.sequence(der.oid(scep.SHA256), scep.NULL), der.octets(hashlib.sha256(data).digest()))
        return b"\0\1" + b"\xff" * (256 - 3 - len(info)) + b"\0" + info


def csr_of(key):
    if isinstance(key, Exponent1):
        return scep.request(key, spki=key.spki)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def file_key(path):
    return serialization.load_pem_private_key(pathlib.Path(path).read_bytes(), None)


WEAK = {
    "RSA of 1024 bits": lambda site: scep.new_key(1024), "RSA of 2047 bits": lambda site: scep.new_key(2047),
    "exponent 3": lambda site: scep.new_key(e=3), "exponent 1": lambda site: Exponent1(scep.new_key()),
    "ROCA": lambda site: roca(), "primes too close": lambda site: close_primes(), "P-521": lambda site: ec.generate_private_key(ec.SECP521R1()),
    "P-192": lambda site: ec.generate_private_key(ec.SECP192R1()), "the CA's own": lambda site: file_key(str(site.issuing)[:-4] + ".key"),
    "the root's own": lambda site: file_key(str(site.root)[:-4] + ".key"), "the SCEP RA's": lambda site: file_key(str(site.ra)[:-4] + ".key"),
}


@pytest.mark.parametrize("what", WEAK)
def test_e41_a_key_that_is_weak_or_the_cas_own_gets_no_certificate(site, what):
    before = site.live()
    assert est(site, csr_of(WEAK[what](site)))[0] in (400, 403)
    assert site.live() == before


def test_e41_a_request_must_be_signed_by_its_own_key(site, key, another_key):
    stolen = scep.request(key, sign=another_key)
    assert est(site, stolen)[0] == 400
    secret = site.secret()
    assert refused(site.client(key=key).enroll(csr=scep.request(key, secret, sign=another_key), transaction=fresh()))
    assert site.client(key=key).enroll(secret, fresh()).status == "0"       # the secret was not used up


# --- E42: challenges, renewals, transactions ---

def test_e42_guessing_challenges_gets_nobody_anywhere_and_leaves_a_trail(site, key):
    client, before = site.client(key=key), site.live()
    guesses = ["", "A", "0" * 16, "' OR 1=1 --", "%s%n", "\u00e4" * 40, "x" * 128, "x" * 129, "x" * 5000] + [fresh() for _ in range(11)]
    trail = len(site.trail())
    assert all(refused(client.enroll(guess, fresh())) for guess in guesses)
    assert refused(client.enroll(csr=scep.request(key), transaction=fresh()))
    assert site.live() == before and len(site.trail()) >= trail + len(guesses)


def test_e42_a_static_challenge_is_not_guessed_at_as_fast_as_one_can_ask(place, key):
    path = pathlib.Path(place) / "static.secret"
    path.write_text("Spring2026!\n")
    path.chmod(0o600)
    with running(place, lockout={"address_attempts": 5}, scep={"challenge": "static", "static_file": str(path)}) as site:
        client = site.client(key=key)
        asks = san(upn("alice@corp.example"))
        assert loaded(client.enroll(csr=scep.request(key, "Spring2026!", extensions=asks), transaction=fresh()))
        for i in range(5):
            assert refused(client.enroll(csr=scep.request(key, "Spring202%d!" % i, extensions=asks), transaction=fresh()))
        # from then on not even the right one is listened to
        assert client.enroll(csr=scep.request(key, "Spring2026!", extensions=asks), transaction=fresh()).http_status == 429
        assert site.live() == 1
        # and such a one is told, with the cure, at the start and by `check`
        told = site.program.events("challenge_weak")
        assert [line["level"] for line in told] == ["warning"] and "fewer than 16 characters" in told[0]["message"]
        for text, finding in ("Spring2026!", "FAILED  enroll.scep.static_file %s: the challenge has fewer than 16 characters and can be guessed: put a random text into "
                              "it: openssl rand -base64 24" % path), ("ab" * 20, "fewer than 8 different"), ("x" * 129, "longer than 128 bytes"), ("0123456789abcdef-long-enough", "ok  "):
            path.write_text(text + "\n")
            printed = run(binary("easenroll"), "-c", site.place / "easgate.yaml", "check", good=False).stdout.decode().splitlines()
            line = next(line for line in printed if "challenge" in line and not line.endswith(str(path)))
            assert finding in line and "Spring2026" not in line


def test_e42_of_two_requests_at_once_with_one_secret_exactly_one_gets_a_certificate(site):
    for _ in range(3):
        secret, clients = site.secret(), [site.client() for _ in range(2)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            replies = list(pool.map(lambda client: client.enroll(secret, fresh()), clients))
        assert sorted(reply.status for reply in replies) == ["0", "2"]


def test_e42_a_request_with_two_challenges_is_refused_whichever_is_good(site, key):
    for first, second in ((site.secret(), "wrong"), ("wrong", site.secret())):
        other = der.sequence(der.oid(scep.CHALLENGE), der.tlv(0x31, der.utf8(second)))
        assert refused(site.client(key=key).enroll(csr=scep.request(key, first, attributes=other), transaction=fresh()))


def test_e42_a_replayed_message_gets_the_same_certificate_and_never_a_second(site, key):
    client, before = site.client(key=key), site.live()
    body = scep.message(scep.PKCS_REQ, fresh(), scep.envelope(client.ra, scep.request(key, site.secret())), key, client.signer, nonce=b"n" * 16)
    replies = [client.post(body) for _ in range(3)]
    assert replies[0].status == "0" and len({reply.certificate for reply in replies}) == 1
    assert all(reply.recipient_nonce == b"n" * 16 for reply in replies)
    assert site.live() == before + 1


def test_e42_another_key_cannot_have_what_a_transaction_answered(site, key, another_key):
    transaction = fresh()
    assert site.client(key=key).enroll(site.secret(), transaction).status == "0"
    other = site.client(key=another_key)
    assert refused(other.poll(transaction), "4")
    assert refused(other.enroll("wrong", transaction))
    # the same id with a key and a secret of its own is a transaction of its own
    assert loaded(other.enroll(site.secret(), transaction)).public_key().public_numbers() == another_key.public_key().public_numbers()


@pytest.fixture(scope="module")
def enrolled(site):
    """Somebody's key and certificate, as DER."""
    client = site.client()
    return client.key, client.enroll(site.secret("scep", "bob"), fresh()).certificate


@pytest.mark.parametrize("kind", [scep.RENEWAL_REQ, scep.PKCS_REQ])
def test_e42_a_renewal_becomes_the_certificate_of_the_old_ones_owner_whatever_it_asks(site, enrolled, kind):
    """Signed with the old certificate as 17 and as 19 (what scepclient, sscep and Windows send); no challenge."""
    old_key, old = enrolled
    new = scep.new_key()
    csr = scep.request(new, subject=scep.name("alice"), extensions=OTHERS)
    certificate = loaded(site.client(key=old_key).enroll(csr=csr, transaction=fresh(), kind=kind, signer=old))
    assert "Bob Example" in certificate.subject.rfc4514_string()
    assert about(certificate) == about(x509.load_der_x509_certificate(old))
    assert certificate.public_key().public_numbers() == new.public_key().public_numbers()


def test_e42_another_users_certificate_renews_nothing_without_its_key(site, enrolled, another_key):
    """Certificates are public: the message is signed with another key, which a copy of the certificate does not prove."""
    _, old = enrolled
    for kind in scep.RENEWAL_REQ, scep.PKCS_REQ:
        assert refused(site.client(key=another_key).enroll(csr=scep.request(another_key), transaction=fresh(), kind=kind, signer=old), "1")


def test_e42_a_renewal_by_a_stranger_or_by_a_certificate_that_only_looks_like_ours_is_refused(site, key, enrolled):
    assert refused(site.client(key=key).enroll(csr=scep.request(key), transaction=fresh(), kind=scep.RENEWAL_REQ))
    _, old = enrolled
    real = x509.load_der_x509_certificate(old)
    forged = (x509.CertificateBuilder().subject_name(real.subject).issuer_name(real.issuer).serial_number(real.serial_number)
              .public_key(key.public_key()).not_valid_before(real.not_valid_before).not_valid_after(real.not_valid_after).sign(key, hashes.SHA256()))
    forged = forged.public_bytes(serialization.Encoding.DER)
    for kind in scep.RENEWAL_REQ, scep.PKCS_REQ, scep.GET_CERT, scep.GET_CRL:
        csr = scep.request(key) if kind < 20 else scep.issuer_and_serial(real)
        assert refused(site.client(key=key).enroll(csr=csr, transaction=fresh(), kind=kind, signer=forged))


@pytest.mark.parametrize("how", ["revoked", "on hold", "ended"])
def test_e42_a_certificate_that_is_no_longer_good_renews_nothing(place, how):
    with running(place) as site:
        client = site.client()
        old = client.enroll(site.secret(), fresh()).certificate
        device = site.devices()[0]["id"]
        if how == "ended":
            site.stop()
            with sqlite3.connect(site.place / "state" / "enroll" / "registry.db") as db:
                db.execute("UPDATE certificates SET not_after = not_before + 1")
            site.start()
            client = site.client(key=client.key)
        else:
            site.command("device", "revoke" if how == "revoked" else "hold", device)
        for kind in scep.RENEWAL_REQ, scep.PKCS_REQ:
            assert refused(client.enroll(site.secret(), fresh(), kind=kind, signer=old))
        (site.place / "old.pem").write_bytes(run("openssl", "x509", "-inform", "DER", data=old).stdout)
        (site.place / "old.key").write_bytes(client.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                                      serialization.NoEncryption()))
        (site.place / "body").write_bytes(base64.b64encode(scep.request(client.key)))
        status = site.curl("-o", os.devnull, "-w", "%{http_code}", "--cert", site.place / "old.pem", "--key", site.place / "old.key",
                           "-H", "Content-Type: application/pkcs10", "--data-binary", "@%s" % (site.place / "body"),
                           site.est + "/.well-known/est/simplereenroll")
        assert status in (b"401", b"403")


def test_e42_a_message_whose_type_is_not_what_it_holds_is_refused(site, key, enrolled):
    old_key, old = enrolled
    client, csr = site.client(key=old_key), scep.request(old_key)
    for kind, content in ((scep.POLL, csr), (scep.GET_CERT, csr), (scep.GET_CRL, csr), (scep.RENEWAL_REQ, scep.issuer_and_serial(client.ra)),
                          (scep.PKCS_REQ, b"\x30\x00"), (scep.PKCS_REQ, b"x"), (scep.POLL, scep.issuer_and_serial(client.ra))):
        assert refused(client.enroll(csr=content, transaction=fresh(), kind=kind, signer=old)), (kind, content)
    for kind in (3, 0, 18, 23, 4294967315, "019", "19 ", ""):
        reply = client.enroll(csr=csr, transaction=fresh(), kind=kind, signer=old)
        assert reply.http_status == 400, kind


def test_e42_a_device_fetches_its_own_certificates_and_the_list_and_nobody_elses(site, key, enrolled):
    own = site.client()
    mine = enrol.whose_first_bit_is_set(lambda: x509.load_der_x509_certificate(own.enroll(site.secret(), fresh()).certificate))
    signer = mine.public_bytes(serialization.Encoding.DER)
    theirs = x509.load_der_x509_certificate(enrolled[1])
    assert own.fetch(scep.GET_CERT, mine, own.key, signer).certificate == signer
    assert refused(own.fetch(scep.GET_CERT, theirs, own.key, signer), "4")
    listed = x509.load_der_x509_crl(own.fetch(scep.GET_CRL, mine, own.key, signer).crl)
    assert listed.is_signature_valid(x509.load_pem_x509_certificate(site.issuing.read_bytes()).public_key())
    stranger = site.client(key=key)
    for kind in scep.GET_CERT, scep.GET_CRL:
        assert refused(stranger.fetch(kind, mine, key, stranger.signer))


@pytest.mark.parametrize("transaction", ["9" * 77, "kTSjJu+2aGVa1lhSdz9ZwiKoIiE=", "../../../etc/passwd", "x' OR '1'='1", "a b", "%2e%2e", "A" * 256])
def test_e42_a_transaction_id_is_opaque_and_comes_back_as_it_was(site, transaction):
    client = site.client()
    first = client.enroll(site.secret(), transaction)
    assert first.status == "0" and first.transaction == transaction
    assert client.poll(transaction).certificate == first.certificate


@pytest.mark.parametrize("transaction", ["", "A" * 257, "A" * 5000, b"a\0b", b"a\nb", b"\xff"])
def test_e42_a_transaction_id_that_is_no_short_printable_text_is_refused(site, key, transaction):
    client = site.client(key=key)
    body = scep.message(scep.PKCS_REQ, transaction, scep.envelope(client.ra, scep.request(key)), key, client.signer)
    assert client.post(body).http_status == 400


# --- E43: CMS ---

def test_e43_what_real_clients_send_is_read(site):
    """Apple's indefinite lengths, OAEP as Windows has it, certmonger's version 1 signer, each cipher, GET with base64 as it is."""
    for how in ({"ber": True}, {"oaep": True}, {"cipher": "aes128"}, {"cipher": "des3"}, {"get": True}, {"ber": True, "oaep": True}):
        assert site.client().enroll(site.secret(), fresh(), **how).status == "0", how
    first = scep.new_key()
    assert site.client(key=first, signer=scep.self_signed(first, version=1)).enroll(site.secret(), fresh()).status == "0"


def test_e43_all_that_fails_behind_the_decryption_reads_the_same(site, key):
    """Bleichenbacher's question, put in every way: key transport that is no key, one of another length, wrong padding of the content, content cut
    short, content that is no request, and a wrong challenge."""
    client = site.client(key=key)
    n, e = client.ra.public_key().public_numbers().n, 65537

    def transported(block):
        return pow(int.from_bytes(block, "big"), e, n).to_bytes(256, "big")

    asks = {
        "a wrong challenge": {"challenge": "wrong"},
        "a random block": {"wrapped": os.urandom(255).rjust(256, b"\0")},
        "no padding": {"wrapped": transported(os.urandom(255).rjust(256, b"\0"))},
        "type 1": {"wrapped": transported(b"\0\1" + b"\xff" * 221 + b"\0" + bytes(32))},
        "no zero": {"wrapped": transported(b"\0\2" + b"\x41" * 254)},
        "a zero too early": {"wrapped": transported(b"\0\2" + b"\x41" * 3 + b"\0" + b"\x41" * 250)},
        "a key too short": {"wrapped": transported(b"\0\2" + b"\x41" * 237 + b"\0" + b"\x41" * 16)},
        "an empty key": {"wrapped": transported(b"\0\2" + b"\x41" * 253 + b"\0")},
        "another key": {"wrapped": transported(b"\0\2" + b"\x41" * 221 + b"\0" + b"\x42" * 32)},
        "zero": {"wrapped": bytes(256)},
        "wrong padding of the content": {"broken": True},
        "no request": {"csr": b"\x30\x03\x02\x01\x00"},
        "random content": {"csr": os.urandom(600)},
        "content cut": {"cut": 16},
    }
    facts = {what: client.enroll(transaction=fresh(), **dict({"challenge": "wrong"} if "csr" not in ask else {}, **ask)).facts()
             for what, ask in asks.items()}
    assert len(set(facts.values())) == 1, facts
    assert refused(client.enroll("wrong", fresh()))


def test_e43_no_cut_and_no_flipped_message_becomes_a_certificate_or_ends_the_worker(site):
    client, secret, before = site.client(), site.secret(), site.live()
    body = scep.message(scep.PKCS_REQ, fresh(), scep.envelope(client.ra, scep.request(client.key, secret)), client.key, client.signer)
    random.seed(43)
    for at in random.sample(range(len(body)), 60):
        assert client.post(body[:at]).http_status == 400
    for at in random.sample(range(len(body)), 120):
        flipped = client.post(body[:at] + bytes([body[at] ^ 1 << random.randrange(8)]) + body[at + 1:])
        assert flipped.http_status == 400 or flipped.status == "2" or flipped.status == "0" and site.live() == before + 1, at
    assert client.post(body).status == "0" and site.live() == before + 1
    assert len(site.program.events("ready")) <= 2 and not site.program.events("process_died")


def test_e43_a_signer_that_is_not_the_requester_is_refused(site, key, another_key):
    secret = site.secret()
    client = site.client(key=another_key)
    assert refused(client.enroll(csr=scep.request(key, secret), transaction=fresh()))
    assert site.client(key=key).enroll(secret, fresh()).status == "0"


# --- E44: EST ---

def test_e44_what_is_no_base64_of_a_request_is_refused(site, key):
    csr = scep.request(key)
    good = base64.b64encode(csr)
    for body in (b"", b"=", good[:-3], good + b"AAAA", good.replace(b"M", b"*", 1), good + b"=" * 8, b"\0" + good, good[::-1],
                 b"-----BEGIN CERTIFICATE REQUEST-----\n" + good, base64.urlsafe_b64encode(csr * 2), csr[:-1], csr + b"\0", b"\xff" * 300):
        assert est(site, csr, body=body)[0] == 400, body[:40]


def test_e44_an_upload_without_end_is_cut_off_at_the_limit(site):
    host, port = site.tls.rsplit(":", 1)
    context = ssl.create_default_context(cafile=str(site.place / "tls.pem"))
    with context.wrap_socket(socket.create_connection((host, int(port)), timeout=20), server_hostname="localhost") as line:
        line.sendall(b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with pytest.raises(OSError):
            while sent < 64 << 20:
                line.sendall(b"8000\r\n" + b"A" * 0x8000 + b"\r\n")
                sent += 0x8000
        assert sent < 8 << 20
    with context.wrap_socket(socket.create_connection((host, int(port)), timeout=20), server_hostname="localhost") as line:
        line.sendall(b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nContent-Length: 10485760\r\n\r\n")
        assert Reader(line.recv).response("POST").status == 413


def test_e44_a_certificate_of_ours_without_tls_proof_is_none(site, key, enrolled):
    """A TLS client certificate that only looks like ours counts for nothing: 401 asks for a password as if there were none."""
    (site.place / "forged.pem").write_bytes(run("openssl", "x509", "-inform", "DER", data=scep.self_signed(key, "Bob Example")).stdout)
    (site.place / "forged.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                              serialization.NoEncryption()))
    (site.place / "b").write_bytes(base64.b64encode(scep.request(key)))
    answer = {operation: site.curl("-o", os.devnull, "-w", "%{http_code}", "--cert", site.place / "forged.pem", "--key", site.place / "forged.key",
                                   "-H", "Content-Type: application/pkcs10", "--data-binary", "@%s" % (site.place / "b"),
                                   "%s/.well-known/est/%s" % (site.est, operation)) for operation in ("simpleenroll", "simplereenroll")}
    assert answer == {"simpleenroll": b"401", "simplereenroll": b"403"}
