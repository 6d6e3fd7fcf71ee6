"""From a certificate to an account: each kind of claim, and certificates that must not become anybody.

Threats P10, P25, P29, P31 to P38 and P55.

What a certificate is refused for stands in the log: the handshake's own refusals as `handshake_refused` with the
reason, and what is wrong in a trusted certificate as `refused` with 403.
"""
import hashlib
import json
import os
import re
import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from site_ import der
from site_ import pki as P
from site_.device import EAS
from site_.hosts import second_host
from site_.pki import Authority, email, new_key, raw_extension, raw_name, upn, upn_raw

CN, UID, MAIL = "2.5.4.3", "0.9.2342.19200300.100.1.1", "1.2.840.113549.1.9.1"
SAN, EKU = "2.5.29.17", "2.5.29.37"


@pytest.fixture
def serving(start_proxy, configure, backend, pki, place):
    """serving(identity, **changes): a proxy that looks for claims in this order, and knows the device CA as RSA too."""
    def start(identity, changes=None, extra_ca=()):
        anchors = os.path.join(place, "anchors.pem")
        P.replace_file(anchors, pki.device_ca.pem + b"".join(ca.pem for ca in extra_ca))
        return start_proxy(configure(backend, changes={
            "proxy.identity": identity, "proxy.hosts.0.client_ca": [anchors], "proxy.revocation.unknown": "allow",
            **(changes or {})}))
    return start


class Asked:
    """How one certificate fared: `status` of the answer, or `alert` of the handshake; `line` of the log about it."""

    def __init__(self, proxy, device):
        since = proxy.mark()
        self.status = self.alert = None
        try:
            with device.connect() as line:
                response = line.request("OPTIONS", EAS)
                self.status = response and response.status
        except ssl.SSLError as e:
            self.alert = e.reason
        except (OSError, EOFError):
            self.alert = "closed"
        if self.status is None:
            self.line = proxy.wait_event("handshake_refused", since=since)
        else:
            event = "access" if self.status == 200 else "refused"
            self.line = proxy.wait_event(event, since=since, certificate=device.identity.sha256)

    def __repr__(self):
        return "%s %s" % (self.status or self.alert, json.dumps(self.line))


@pytest.fixture
def ask(phone):
    return lambda proxy, identity: Asked(proxy, phone(proxy, identity, ciphers="DEFAULT:@SECLEVEL=0"))


def refused_all(proxy, ask, backend, cases):
    """Every case (name, identity, reason, words of the detail) is refused, audited, and says why."""
    wrong = []
    for name, identity, reason, words in cases:
        seen = ask(proxy, identity)
        good = seen.status in (None, 403) and seen.line.get("audit") is True and seen.line["reason"] == reason \
            and re.search(words, seen.line.get("detail", "") + " ")
        if not good:
            wrong.append("%s: %r" % (name, seen))
    assert not wrong, "\n".join(wrong)
    assert backend.requests == []


# each kind of claim

def _own_names(ca, identity):
    """The RDNs of issuer and subject as Windows writes them, in the order of the certificate."""
    def text(name):
        return ",".join("%s=%s" % ({"commonName": "CN", "organizationName": "O"}[a.oid._name], a.value)
                        for a in name)
    return text(ca.subject), text(identity.cert.subject)


def _serial_reversed(identity):
    data = identity.serial.to_bytes((identity.serial.bit_length() + 7) // 8, "big")
    return data[::-1].hex().upper()


def _key_sha1(identity):
    point = identity.cert.public_key().public_bytes(serialization.Encoding.X962,
                                                    serialization.PublicFormat.UncompressedPoint)
    return hashlib.sha1(point).hexdigest()


def test_the_sid_extension_names_the_account(serving, ask, pki, accounts, backend):
    proxy = serving(["sid"])
    seen = ask(proxy, pki.device_ca.device(sid=accounts.accounts["alice"]["sid"]))
    assert (seen.status, seen.line["user"]) == (200, "alice")
    assert backend.requests[-1].get("X-EAS-User") == "alice"
    assert ask(proxy, pki.device_ca.device(sid="S-1-5-21-1-2-3-4711")).line["reason"] == "account-unknown"


@pytest.mark.quick
@pytest.mark.parametrize("kind,alt", [
    ("alt-issuer-serial", lambda ca, i: "X509:<I>%s<SR>%s" % (_own_names(ca, i)[0], _serial_reversed(i))),
    ("alt-ski", lambda ca, i: "X509:<SKI>" + i.ski),
    ("alt-sha1-public-key", lambda ca, i: "X509:<SHA1-PUKEY>" + _key_sha1(i)),
    ("weak-issuer-subject", lambda ca, i: "X509:<I>%s<S>%s" % _own_names(ca, i)),
    ("weak-subject", lambda ca, i: "X509:<S>" + _own_names(ca, i)[1]),
    ("weak-rfc822", lambda ca, i: "X509:<RFC822>phone@example.com"),
], ids=["issuer-serial", "ski", "sha1-public-key", "issuer-subject", "subject", "rfc822"])
def test_p36_p38_an_alt_security_identity_names_the_account_and_the_weak_ones_only_by_name(
        serving, ask, pki, accounts, backend, kind, alt):
    identity = pki.device_ca.device(mail="phone@example.com", cn="phone one")
    accounts.change("bob", alt_security_identities=[alt(pki.device_ca, identity)])
    proxy = serving([kind])
    seen = ask(proxy, identity)
    assert (seen.status, seen.line.get("user")) == (200, "bob"), seen
    assert backend.requests[-1].get("X-EAS-User") == "bob"
    stranger = pki.device_ca.device(mail="other@example.com", cn="phone two")
    assert ask(proxy, stranger).line["reason"] == "account-unknown"
    proxy.stop()
    strong = [k for k in ("sid", "upn", "alt-issuer-serial", "alt-ski", "alt-sha1-public-key")
              if kind.startswith("weak") or k != kind]
    assert ask(serving(strong), identity).status == 403


def test_p38_a_serial_that_is_not_reversed_and_an_issuer_of_another_ca_map_to_nobody(
        serving, ask, pki, accounts):
    identity = pki.device_ca.device(serial=0x0102030405)
    issuer = _own_names(pki.device_ca, identity)[0]
    accounts.change("bob", alt_security_identities=["X509:<I>%s<SR>0102030405" % issuer,
                                                    "X509:<I>O=Elsewhere,CN=Another CA<SR>0504030201",
                                                    "X509:<I>%s<SR>0504030201FF" % issuer])
    proxy = serving(["alt-issuer-serial"])
    assert ask(proxy, identity).line["reason"] == "account-unknown"


@pytest.mark.parametrize("kind,identity", [
    ("upn", lambda ca: ca.device("alice@corp.example")), ("upn", lambda ca: ca.device("ALICE@Corp.Example")),
    ("email", lambda ca: ca.device(mail="alice@example.com")), ("subject:CN", lambda ca: ca.device(cn="alice")),
    ("subject:UID", lambda ca: ca.device(subject=[(NameOID.USER_ID, "alice", None)])),
    ("subject:emailAddress", lambda ca: ca.device(subject=[(NameOID.EMAIL_ADDRESS, "alice@example.com", None)])),
], ids=["upn", "upn-upper-case", "email", "cn", "uid", "emailAddress"])
def test_a_name_in_the_certificate_names_the_account(serving, ask, pki, backend, kind, identity):
    proxy = serving([kind])
    seen = ask(proxy, identity(pki.device_ca))
    assert (seen.status, seen.line.get("user")) == (200, "alice"), seen
    assert backend.requests[-1].get("X-EAS-User") == "alice"


def test_the_first_kind_in_the_order_that_the_certificate_has_decides(serving, ask, pki):
    both = pki.device_ca.device("alice@corp.example", mail="bob@example.com")
    for order, user in ((["upn", "email"], "alice"), (["email", "upn"], "bob"), (["subject:UID", "email"], "bob")):
        proxy = serving(order)
        assert ask(proxy, both).line["user"] == user
        proxy.stop()


def test_a_certificate_without_any_of_the_kinds_is_refused(serving, ask, pki, backend):
    proxy = serving(["sid", "upn"])
    refused_all(proxy, ask, backend, [
        ("only an e-mail address", pki.device_ca.device(mail="alice@example.com"), "certificate-unusable", "not in"),
        ("nothing", pki.device_ca.device(), "certificate-unusable", "not in"),
    ])


# who is meant, and who is not

@pytest.mark.quick
def test_p36_a_right_name_with_another_sid_is_not_that_account(serving, ask, pki, accounts, backend):
    sids = {name: a["sid"] for name, a in accounts.accounts.items()}
    proxy = serving(["upn"])
    refused_all(proxy, ask, backend, [
        ("alice's name, bob's SID", pki.device_ca.device("alice@corp.example", sid=sids["bob"]), "account-mismatch", ""),
        ("alice's name, nobody's SID", pki.device_ca.device("alice@corp.example", sid="S-1-5-21-1-2-3-999"),
         "account-mismatch", ""),
        ("alice's name, a SID of another domain", pki.device_ca.device(
            "alice@corp.example", sid="S-1-5-21-9-9-9-" + sids["alice"].rpartition("-")[2]), "account-mismatch", ""),
    ])
    assert ask(proxy, pki.device_ca.device("alice@corp.example", sid=sids["alice"])).status == 200


def test_p36_the_sid_goes_before_the_name_and_the_request_must_be_its_users(
        serving, phone, ask, pki, accounts, backend):
    proxy = serving(["sid", "upn"])
    identity = pki.device_ca.device("alice@corp.example", sid=accounts.accounts["bob"]["sid"])
    assert phone(proxy, identity, user="alice").sync().status == 403
    assert proxy.wait_event("refused", reason="other-user")["user"] == "bob"
    assert backend.requests == []


def test_p36_a_sid_that_stands_anywhere_but_in_its_extension_is_never_read(serving, ask, pki, accounts, backend):
    sid = accounts.accounts["alice"]["sid"]
    tag = "tag:microsoft.com,2022-09-14:sid:" + sid
    proxy = serving(["sid"])
    refused_all(proxy, ask, backend, [
        ("in a URI", pki.device_ca.device(san=[P.uri(tag)]), "certificate-unusable", "not in"),
        ("as a common name", pki.device_ca.device(cn=sid), "certificate-unusable", "not in"),
        ("as another otherName", pki.device_ca.device(
            san=[x509.OtherName(x509.ObjectIdentifier(P.SID_OID), der.utf8(sid))]), "certificate-unusable", "not in"),
    ])


def test_p38_a_name_that_was_given_to_somebody_else_does_not_follow_the_old_certificate(
        serving, ask, pki, accounts, backend):
    """alice left; her UPN now belongs to a new account with another SID."""
    old = pki.device_ca.device("alice@corp.example", sid=accounts.accounts["alice"]["sid"])
    proxy = serving(["upn"])
    assert ask(proxy, old).status == 200
    since = proxy.mark()
    accounts.remove("alice")
    accounts.add("alice")
    proxy.wait_event("directory_up", since=since)
    assert ask(proxy, old).line["reason"] == "account-mismatch"


def test_a_claim_that_fits_two_accounts_fits_none(serving, ask, pki, accounts, backend):
    accounts.add("anna", mail="both@example.com")
    accounts.add("berta", mail="both@example.com")
    refused_all(serving(["email"]), ask, backend, [
        ("two mailboxes", pki.device_ca.device(mail="both@example.com"), "account-ambiguous", "")])


def test_p37_a_ca_that_is_trusted_for_another_host_maps_to_nobody_here(
        start_proxy, configure, backend, pki, place, ask):
    other = os.path.join(place, "other-ca.pem")
    P.replace_file(other, pki.other_ca.pem)
    config = second_host(configure(backend, changes={"proxy.revocation.unknown": "allow"}), pki, place, client_ca=[other])
    seen = ask(start_proxy(config), pki.other_ca.device("alice@corp.example"))
    assert seen.status is None and seen.line["reason"] == "certificate"
    assert backend.requests == []


def test_p34_a_name_with_the_characters_of_filters_and_dns_is_looked_up_as_it_stands(serving, ask, pki, backend):
    proxy = serving(["subject:CN"])
    for name in ("*", "al*", "*)(uid=*", ")(|(objectClass=*)", "alice)(cn=*", "\\2a", "alice,OU=x", "alice+O=y",
                 "#616c696365", "alice;", "ali\\63e", "(alice)"):
        assert ask(proxy, pki.device_ca.device(cn=name)).line["reason"] == "account-unknown", name
    assert backend.requests == []


# hostile names in certificates of the trusted CA

def _subject(ca, *attributes):
    plain = ca.device(cn="to be replaced")
    return ca.reissue(plain, plain.cert.subject.public_bytes(), raw_name(*attributes))


def _bmp(text):
    return der.tlv(0x1E, text.encode("utf-16-be"))


def _t61(text):
    return der.tlv(0x14, text.encode("latin-1"))


@pytest.mark.quick
def test_p31_p32_p33_a_upn_that_is_not_one_clean_name_is_refused_with_its_reason(serving, ask, pki, backend):
    ca, bad = pki.device_ca, "certificate-unusable"
    device = lambda *san, **kw: ca.device(san=list(san), **kw)      # noqa: E731
    right = upn("alice@corp.example")
    san_raw = lambda value: ca.device(extensions=[raw_extension(SAN, value)])       # noqa: E731
    other_name = der.context(0, der.oid(P.UPN_OID), der.context(0, der.utf8("alice@corp.example")))
    proxy = serving(["upn"])
    refused_all(proxy, ask, backend, [
        ("a NUL at the end", device(upn(b"alice@corp.example\0")), bad, "bytes"),
        ("a NUL and another domain", device(upn(b"alice@corp.example\0.evil.example")), bad, "bytes"),
        ("a NUL in front", device(upn(b"\0alice@corp.example")), bad, "bytes"),
        ("two names", device(right, upn("bob@corp.example")), bad, "more than once"),
        ("the same name twice", device(right, right), bad, "more than once"),
        ("nothing", device(upn("")), bad, "."),
        ("CR and LF", device(upn("alice@corp.example\r\nX-EAS-User: bob")), bad, "bytes"),
        ("an escape sequence", device(upn("\x1b[2Jalice@corp.example")), bad, "bytes"),
        ("DEL", device(upn("alice\x7f@corp.example")), bad, "bytes"),
        ("a C1 control", device(upn("alice\x85@corp.example")), bad, "bytes"),
        ("a right-to-left override", device(upn("\u202ealice@corp.example")), bad, "bytes"),
        ("a right-to-left mark", device(upn("alice\u200f@corp.example")), bad, "bytes"),
        ("a zero-width space", device(upn("ali\u200bce@corp.example")), bad, "bytes"),
        ("a soft hyphen", device(upn("ali\u00adce@corp.example")), bad, "bytes"),
        ("a byte order mark", device(upn("\ufeffalice@corp.example")), bad, "bytes"),
        ("a full-width letter", device(upn("\uff41lice@corp.example")), bad, "bytes"),
        ("a long s", device(upn("alice@corp.example".replace("e@", "\u017f@"))), bad, "bytes"),
        ("a dotless i", device(upn("al\u0131ce@corp.example")), bad, "bytes"),
        ("a combining accent", device(upn("alic\u0065\u0301@corp.example")), bad, "bytes"),
        ("invalid UTF-8", device(upn(b"alice\xff@corp.example")), bad, "bytes"),
        ("overlong UTF-8", device(upn(b"\xc1\xa1lice@corp.example")), bad, "bytes"),
        ("a surrogate in UTF-8", device(upn(b"alice\xed\xa0\x80@corp.example")), bad, "bytes"),
        ("a space at the end", device(upn("alice@corp.example ")), bad, "bytes"),
        ("a space in front", device(upn(" alice@corp.example")), bad, "bytes"),
        ("no @", device(upn("alice")), bad, "malformed"),
        ("two @", device(upn("alice@corp.example@corp.example")), bad, "malformed"),
        ("nothing before the @", device(upn("@corp.example")), bad, "malformed"),
        ("IA5String", device(upn_raw(der.ia5("alice@corp.example"))), bad, "string type"),
        ("BMPString", device(upn_raw(_bmp("alice@corp.example"))), bad, "string type"),
        ("T61String", device(upn_raw(_t61("alice@corp.example"))), bad, "string type"),
        ("PrintableString", device(upn_raw(der.tlv(0x13, b"alice.corp.example"))), bad, "string type"),
        ("OCTET STRING", device(upn_raw(der.octets(b"alice@corp.example"))), bad, "string type"),
        ("a sequence of it", device(upn_raw(der.sequence(der.utf8("alice@corp.example")))), bad, "."),
        ("320 characters and more", device(upn("a" * 400 + "@corp.example")), bad, "too long"),
        ("as an e-mail address", device(email("alice@corp.example")), bad, "not in"),
        ("as a DNS name", device(P.dns("alice@corp.example")), bad, "not in"),
        ("as a URI", device(P.uri("upn:alice@corp.example")), bad, "not in"),
        ("under another OID", device(x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.4"),
                                                    der.utf8("alice@corp.example"))), bad, "not in"),
        ("as the common name", ca.device(cn="alice@corp.example"), bad, "not in"),
        ("bytes behind the names", san_raw(der.sequence(other_name) + b"\0\0"), bad, "malformed"),
        ("an indefinite length", san_raw(b"\x30\x80" + other_name + b"\0\0"), bad, "malformed"),
    ])
    seen = ask(proxy, device(upn("bob@corp.example"), email("alice@example.com"), P.dns("alice.corp.example")))
    assert (seen.status, seen.line["user"]) == (200, "bob")


@pytest.mark.quick
def test_p36_a_sid_extension_that_is_not_one_sid_is_refused_whatever_else_names_the_user(
        serving, ask, pki, accounts, backend):
    ca, sid, bad = pki.device_ca, accounts.accounts["alice"]["sid"], "certificate-unusable"
    raw = lambda value: ca.device("alice@corp.example", extensions=[raw_extension(P.SID_OID, value)])       # noqa: E731
    inner = lambda text: der.context(0, der.oid(P.SID_OID + ".1"), der.context(0, der.octets(text)))        # noqa: E731
    cases = [
        ("empty", ca.device("alice@corp.example", sid=""), "."),
        ("a NUL at the end", ca.device("alice@corp.example", sid=sid.encode() + b"\0"), "."),
        ("a NUL in it", ca.device("alice@corp.example", sid=sid.encode() + b"\x001"), "."),
        ("lower case", ca.device("alice@corp.example", sid=sid.lower()), "."),
        ("a space", ca.device("alice@corp.example", sid=sid + " "), "."),
        ("a letter", ca.device("alice@corp.example", sid=sid + "x"), "."),
        ("nothing behind S-1-", ca.device("alice@corp.example", sid="S-1-"), "."),
        ("a number too large", ca.device("alice@corp.example", sid="S-1-5-21-1-2-3-99999999999"), "."),
        ("a zero in front", ca.device("alice@corp.example", sid=sid.replace("-1104", "-01104")), "."),
        ("too many parts", ca.device("alice@corp.example", sid="S-1-5" + "-1" * 20), "."),
        ("two SIDs", raw(der.sequence(inner(sid.encode()), inner(b"S-1-5-21-1-2-3-1105"))), "."),
        ("no otherName", raw(der.octets(sid.encode())), "."),
        ("bytes behind it", raw(der.sequence(inner(sid.encode())) + b"\0"), "."),
        ("no bytes", raw(b""), "."),
        ("UTF8String instead", raw(der.sequence(der.context(0, der.oid(P.SID_OID + ".1"), der.context(0, der.utf8(sid))))), "."),
    ]
    for order in (["sid", "upn"], ["upn"]):
        proxy = serving(order)
        refused_all(proxy, ask, backend, [(name, identity, bad, words) for name, identity, words in cases])
        proxy.stop()


def test_p31_p33_a_common_name_that_has_two_readings_is_refused(serving, ask, pki, backend):
    ca, bad = pki.device_ca, "certificate-unusable"
    refused_all(serving(["subject:CN"]), ask, backend, [
        ("a NUL", _subject(ca, (CN, der.utf8(b"alice\0.evil"))), bad, "bytes"),
        ("two common names", _subject(ca, (CN, der.utf8("alice")), (CN, der.utf8("bob"))), bad, "more than once"),
        ("the same twice", _subject(ca, (CN, der.utf8("alice")), (CN, der.utf8("alice"))), bad, "more than once"),
        ("two values in one RDN", _subject(ca, [(CN, der.utf8("alice")), (UID, der.utf8("bob"))]), bad, "more than once"),
        ("BMPString", _subject(ca, (CN, _bmp("alice"))), bad, "string type"),
        ("T61String", _subject(ca, (CN, _t61("alice"))), bad, "string type"),
        ("UniversalString", _subject(ca, (CN, der.tlv(0x1C, "alice".encode("utf-32-be")))), bad, "string type"),
        ("PrintableString with other bytes", _subject(ca, (CN, der.tlv(0x13, b"alic\xe9"))), bad, "bytes"),
        ("a right-to-left mark", _subject(ca, (CN, der.utf8("alice\u200f"))), bad, "bytes"),
        ("a space at the end", _subject(ca, (CN, der.utf8("alice "))), bad, "bytes"),
        ("CR and LF", _subject(ca, (CN, der.utf8("alice\r\nX-EAS-User: bob"))), bad, "bytes"),
        ("nothing", _subject(ca, (CN, der.utf8(""))), bad, "."),
        ("no common name", _subject(ca, (UID, der.utf8("alice"))), bad, "not in"),
    ])


def test_p31_an_e_mail_address_that_has_two_readings_is_refused(serving, ask, pki, backend):
    ca, bad = pki.device_ca, "certificate-unusable"
    raw = lambda *values: ca.device(extensions=[raw_extension(      # noqa: E731
        SAN, der.sequence(*(der.context(1, v, constructed=False) for v in values)))])
    refused_all(serving(["email"]), ask, backend, [
        ("a NUL", raw(b"alice@example.com\0.evil.example"), bad, "bytes"),
        ("two addresses", raw(b"alice@example.com", b"bob@example.com"), bad, "more than once"),
        ("a letter that is no ASCII", raw("alic\u00e9@example.com".encode()), bad, "bytes"),
        ("punycode that overflows (CVE-2022-3602)", raw(b"alice@xn--" + b"a" * 400 + b".example"), bad, "too long"),
        ("no @", raw(b"alice"), bad, "malformed"),
        ("in the subject only", _subject(ca, (MAIL, der.ia5("alice@example.com"))), bad, "not in"),
    ])


# certificates that are none for a device

def _with_eku(ca, *purposes, critical=False):
    return ca.device("alice@corp.example", eku=None, extensions=[
        raw_extension(EKU, der.sequence(*(der.oid(p) for p in purposes)), critical)])


@pytest.mark.quick
def test_p25_a_certificate_that_is_not_a_devices_is_refused_in_the_handshake(serving, ask, pki, backend):
    ca = pki.device_ca
    device = lambda **kw: ca.device("alice@corp.example", **kw)     # noqa: E731
    now = int(time.time())
    long_path = Authority("CN=One Too Many", parent=ca)
    plain = Authority("CN=Plain", parent=pki.root, extensions=[_not_critical(True, 0)])
    plain_path = Authority("CN=Below Plain", parent=plain)
    plain_no_ca = Authority("CN=Plain and No CA", parent=pki.root, extensions=[_not_critical(False)])
    plain_unable = Authority("CN=Plain and Unable", parent=pki.root, extensions=[_not_critical(True)],
                             key_usage=("crl_sign",))
    constrained = Authority("CN=Constrained", parent=pki.root, extensions=[raw_extension("2.5.29.30", der.sequence(
        der.context(0, der.sequence(der.context(1, b"other.example", constructed=False)))), critical=True)])
    unable = Authority("CN=Unable", parent=pki.root, key_usage=("crl_sign",))
    no_ca = Authority("CN=No CA", parent=pki.root, basic_constraints=(False, None))
    cases = [
        ("for servers only", device(eku=(P.SERVER_AUTH,)), "."),
        ("for e-mail only", _with_eku(ca, "1.3.6.1.5.5.7.3.4"), "."),
        ("for any purpose", _with_eku(ca, "2.5.29.37.0"), "."),
        ("for no purpose", _with_eku(ca), "."),
        ("with a list of no names", device(extensions=[raw_extension(SAN, b"\x30\x00")]), "Empty"),
        ("a CA's", device(basic_constraints=(True, None)), "CA"),
        ("a CA's that may sign", device(basic_constraints=(True, 0), key_usage=("digital_signature", "key_cert_sign")), "CA"),
        ("one that may sign certificates", device(key_usage=("digital_signature", "key_cert_sign")), "."),
        ("one that may not sign", device(key_usage=("key_encipherment",)), "."),
        ("expired", device(not_before=now - 7200, not_after=now - 60), "expired"),
        ("not yet valid", device(not_before=now + 3600), "not yet valid"),
        ("an unknown critical extension", device(extensions=[
            raw_extension("1.3.6.1.4.1.55555.1", der.octets(b"x"), critical=True)]), "critical"),
        ("below a path that is too long", long_path.device("alice@corp.example"), "path length"),
        ("outside its name constraints", constrained.device("alice@corp.example", mail="alice@example.com"), "permitted"),
        ("below a CA that may not sign", unable.device("alice@corp.example"), "."),
        ("below what is no CA", no_ca.device("alice@corp.example"), "CA"),
        ("the same, not critical", plain_no_ca.device("alice@corp.example"), "CA"),
        ("below a path that is too long, not critical", plain_path.device("alice@corp.example"), "path length"),
        ("below a CA that may not sign, not critical", plain_unable.device("alice@corp.example"), "."),
        ("of a CA whose constraints are not critical, expired", plain.device(
            "alice@corp.example", not_before=now - 7200, not_after=now - 60), "expired"),
        ("a forged signature", device().forged(), "signature"),
        ("of a CA with the same name and another key", _namesake(ca).device("alice@corp.example"), "."),
        ("signed by itself", _self_signed(), "self.signed|issuer"),
        ("the CA itself", P.Identity(ca.cert, ca.key, ca.chain), "CA"),
    ]
    proxy = serving(["upn"], extra_ca=[pki.root])
    refused_all(proxy, ask, backend, [(name, identity, "certificate", words) for name, identity, words in cases])
    assert ask(proxy, device()).status == 200
    assert ask(proxy, plain.device("alice@corp.example")).status == 200


def _not_critical(is_ca, path_length=None):
    """basicConstraints as older CAs write them (RFC 5280 §4.2.1.9 wants them critical, §6.1.4 does not ask for it)."""
    return raw_extension("2.5.29.19", der.sequence(der.boolean(True) if is_ca else b"", *(
        [der.integer(path_length)] if path_length is not None else [])))


def _namesake(ca):
    return Authority(ca.subject)


def _self_signed():
    own = Authority("CN=alice", basic_constraints=(False, None), key_usage=("digital_signature",))
    return P.Identity(own.cert, own.key)


@pytest.mark.quick
def test_p25_weak_keys_and_digests_are_refused_in_the_handshake(serving, ask, pki, backend):
    rsa = Authority("CN=RSA CA", key=new_key("rsa2048"))
    weak = Authority("CN=Weak CA", key=new_key("rsa1024"))
    sha1 = Authority("CN=SHA-1 CA", parent=rsa, key=new_key("rsa2048"), digest=hashes.SHA1())
    proxy = serving(["upn"], extra_ca=[rsa, weak])
    refused_all(proxy, ask, backend, [(name, identity, "certificate", words) for name, identity, words in [
        ("RSA-1024", rsa.device("alice@corp.example", key=new_key("rsa1024")), "too small|weak"),
        ("SHA-1", rsa.device("alice@corp.example", digest=hashes.SHA1()), "weak"),
        ("MD5", rsa.device("alice@corp.example", digest=hashes.MD5()), "weak|unable|digest|signature"),
        ("below RSA-1024", weak.device("alice@corp.example"), "too small|weak"),
        ("below a CA by SHA-1", sha1.device("alice@corp.example"), "weak"),
    ]])
    assert ask(proxy, rsa.device("alice@corp.example", key=new_key("rsa2048"))).status == 200


def test_p29_a_serial_that_is_negative_zero_or_too_long_is_refused(serving, ask, pki, backend):
    ca = pki.device_ca
    plain = ca.device("alice@corp.example", serial=0x1122334455667788)
    old = der.integer(plain.serial)
    refused_all(serving(["upn"]), ask, backend, [
        (name, ca.reissue(plain, old, new), "certificate-unusable", "serial") for name, new in (
            ("negative", b"\2\1\xfb"), ("zero", b"\2\1\0"), ("21 bytes", der.integer(1 << 167)))])


@pytest.mark.quick
def test_p10_p55_names_of_an_untrusted_certificate_stay_within_their_line_of_the_log(serving, ask, pki, backend):
    proxy = serving(["upn"])
    for name in ("x\r\n{\"event\":\"access\",\"user\":\"bob\"}", "x\", \"audit\": false, \"y\": \"", "\x1b[31mred", "\u202egnp",
                 "a" * 5000, "\0\0\0", "\\u0000\\"):
        seen = ask(proxy, _subject(pki.other_ca, (CN, der.utf8(name))))
        assert seen.status is None and seen.line["audit"] is True
    assert all(isinstance(line, dict) for line in proxy.log.lines), "a line that is no JSON"
    assert proxy.events("access") == []
    assert all("\r" not in json.dumps(line, ensure_ascii=False) for line in proxy.log.lines)


def test_a_certificate_of_another_ca_says_in_the_log_whose_it_was(serving, ask, pki):
    seen = ask(serving(["upn"]), pki.other_ca.device("alice@corp.example", cn="somebody's phone"))
    assert "somebody's phone" in seen.line["detail"] and "Another CA" in seen.line["detail"]
    assert seen.line["client"].startswith("127.0.0.1")
