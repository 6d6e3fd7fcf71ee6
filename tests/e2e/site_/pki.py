"""Certificates and CRLs of the tests, good and bad ones, made anew by each run; no key is ever stored in the tree."""
import hashlib
import os
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import der

UPN_OID = "1.3.6.1.4.1.311.20.2.3"
SID_OID = "1.3.6.1.4.1.311.25.2"
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
DAY = 86400


def new_key(kind="ec"):
    """`ec` (P-256), `p384`, `p521`, or `rsaN` with N bits."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    return ec.generate_private_key({"ec": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}[kind]())


def upn(value):
    """SAN otherName with a user principal name. Bytes stand there as they are, right or wrong."""
    return x509.OtherName(x509.ObjectIdentifier(UPN_OID), der.utf8(value))


def upn_raw(encoded):
    """The same with any DER value, for instance of a wrong string type."""
    return x509.OtherName(x509.ObjectIdentifier(UPN_OID), encoded)


def email(value):
    return x509.RFC822Name(value)


def dns(value):
    return x509.DNSName(value)


def uri(value):
    return x509.UniformResourceIdentifier(value)


def sid_extension(sid):
    """Microsoft's security extension: the SID as ASCII text in an octet string. Bytes stand as they are."""
    text = sid.encode() if isinstance(sid, str) else sid
    return raw_extension(SID_OID, der.sequence(der.context(
        0, der.oid(SID_OID + ".1"), der.context(0, der.octets(text)))))


def raw_extension(dotted, value, critical=False):
    """An extension for issue(); it may also take the place of one that issue() would have written."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(dotted), value), critical


def name(subject):
    """A Name from "CN=alice,O=Example" order-preserving, a Name, or a list of (OID, value, type or None)."""
    if isinstance(subject, x509.Name):
        return subject
    if isinstance(subject, str):
        return x509.Name.from_rfc4514_string(subject) if subject else x509.Name([])
    return x509.Name([x509.NameAttribute(o, v, t) if t else x509.NameAttribute(o, v) for o, v, t in subject])


class Identity:
    """A certificate with its key and the intermediates up to, but without, the root."""

    def __init__(self, cert, key, chain=()):
        self.cert, self.key, self.chain = cert, key, list(chain)

    @property
    def der(self):
        return self.cert.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self):
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in [self.cert, *self.chain])

    @property
    def key_pem(self):
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption())

    @property
    def serial(self):
        return self.cert.serial_number

    @property
    def serial_hex(self):
        """As in Redis: lower-case hex without leading zeros."""
        return "%x" % self.serial

    @property
    def sha256(self):
        return hashlib.sha256(self.der).hexdigest()

    @property
    def spki(self):
        return self.cert.public_key().public_bytes(serialization.Encoding.DER,
                                                   serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def spki_hash(self):
        """`<issuer>` of the Redis keys, where this is the issuer: SHA-256 of its SubjectPublicKeyInfo."""
        return hashlib.sha256(self.spki).hexdigest()

    @property
    def ski(self):
        """Subject key identifier, hex, as issue() writes it."""
        return x509.SubjectKeyIdentifier.from_public_key(self.cert.public_key()).digest.hex()

    def write(self, directory, base, mode=0o600):
        """Writes BASE.pem (with the chain) and BASE.key; returns both paths."""
        paths = os.path.join(str(directory), base + ".pem"), os.path.join(str(directory), base + ".key")
        for path, content in zip(paths, (self.pem, self.key_pem)):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
                f.write(content)
        os.chmod(paths[0], 0o644)
        return paths

    def forged(self):
        """The same certificate with one bit of its signature turned over."""
        changed = bytearray(self.der)
        changed[-1] ^= 1
        return Identity(x509.load_der_x509_certificate(bytes(changed)), self.key, self.chain)


class Encoded(Identity):
    """A certificate as bytes that no library here need understand."""

    def __init__(self, encoded, key, chain=()):
        super().__init__(None, key, chain)
        self.encoded = encoded

    @property
    def der(self):
        return self.encoded

    @property
    def pem(self):
        return _pem("CERTIFICATE", self.encoded) + b"".join(
            c.public_bytes(serialization.Encoding.PEM) for c in self.chain)


def raw_name(*attributes):
    """DER of a Name from (OID, DER of the value), an RDN each; a list of such pairs is one RDN of several values."""
    return der.sequence(*(der.tlv(0x31, *(der.sequence(der.oid(o), v) for o, v in (
        a if isinstance(a, list) else [a]))) for a in attributes))


class Authority(Identity):
    """A CA: root without `parent`, otherwise an intermediate below it."""

    def __init__(self, subject, parent=None, key=None, path_length=None, days=3650, **other):
        key = key or new_key()
        other.setdefault("basic_constraints", (True, path_length))
        other.setdefault("key_usage", ("key_cert_sign", "crl_sign"))
        subject = subject if "=" in str(subject) or not isinstance(subject, str) else "CN=" + subject
        if parent is None:
            self.key, self.chain, self.parent = key, [], None
            self.subject = name(subject)
            made = self.issue(subject, key=key, eku=None, days=days, self_signed=True, **other)
        else:
            made = parent.issue(subject, key=key, eku=None, days=days, **other)
        super().__init__(made.cert, key, made.chain)
        self.parent, self.subject = parent, made.cert.subject
        self.crl_number = 0

    def issue(self, subject, key=None, san=(), eku=(CLIENT_AUTH,), basic_constraints=(False, None),
              key_usage=("digital_signature",), serial=None, days=30, not_before=None, not_after=None,
              extensions=(), digest=None, critical_san=False, self_signed=False):
        """A certificate under this CA. What is None or empty is left out; `extensions` come from raw_extension().

        Dates are seconds since the epoch or datetime (UTC); the default is from an hour ago for `days`."""
        key = key or new_key()
        now = int(time.time())
        raw = {e.oid for e, _ in extensions}
        builder = x509.CertificateBuilder(
            issuer_name=self.subject, subject_name=name(subject), public_key=key.public_key(),
            serial_number=x509.random_serial_number() if serial is None else serial,
            not_valid_before=der.utc(now - 3600 if not_before is None else not_before),
            not_valid_after=der.utc(now + days * DAY if not_after is None else not_after))
        wanted = [(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)]
        if not self_signed:
            wanted.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False))
        if basic_constraints is not None:
            wanted.append((x509.BasicConstraints(*basic_constraints), True))
        if key_usage:
            wanted.append((_key_usage(key_usage), True))
        if eku:
            wanted.append((x509.ExtendedKeyUsage([_oid(o) for o in eku]), False))
        if san:
            wanted.append((x509.SubjectAlternativeName(list(san)), critical_san))
        for value, critical in [w for w in wanted if w[0].oid not in raw] + list(extensions):
            builder = builder.add_extension(value, critical)
        cert = builder.sign(self.key, hashes.SHA256())
        if digest:
            cert = x509.load_der_x509_certificate(self._signed_again(cert.tbs_certificate_bytes, digest))
        return Identity(cert, key, [] if self_signed or self.parent is None else [self.cert, *self.chain])

    def reissue(self, identity, old, new):
        """The identity's certificate with a part of its tbsCertificate (DER of an element right below it: a name,
        the key) replaced by any bytes, signed again. Nothing checks that the result can be read."""
        changed = _replaced(identity.cert.tbs_certificate_bytes, old, new)
        signed = der.sequence(changed, _algorithm(self.key), der.bits(_sign(self.key, changed)))
        return Encoded(signed, identity.key, identity.chain)

    def _signed_again(self, tbs, digest):
        """The same certificate by a digest that the library may no longer sign certificates with."""
        changed = _replaced(tbs, _algorithm(self.key), _algorithm(self.key, digest))
        return der.sequence(changed, _algorithm(self.key, digest), der.bits(_sign(self.key, changed, digest)))

    def server(self, *names, **other):
        """A server certificate for DNS names, and for 127.0.0.1."""
        import ipaddress
        san = [dns(n) for n in names] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return self.issue("CN=" + names[0], san=san, eku=(SERVER_AUTH,), **other)

    def device(self, user_principal_name=None, sid=None, mail=None, cn="device", **other):
        """A device certificate that names its user by what is given."""
        san = list(other.pop("san", ()))
        san += [upn(user_principal_name)] if user_principal_name is not None else []
        san += [email(mail)] if mail is not None else []
        extensions = list(other.pop("extensions", ())) + ([sid_extension(sid)] if sid is not None else [])
        subject = other.pop("subject", [(NameOID.COMMON_NAME, cn, None)])
        return self.issue(subject, san=san, extensions=extensions, **other)

    def crl(self, revoked=(), number=None, this_update=None, next_update="week", delta_of=None, extensions=(),
            idp=None, pem=True, signer=None, issuer=None):
        """A CRL of this CA as bytes.

        `revoked` holds identities, serial numbers, or (serial, reason, time) with reason None to leave it out
        (8, removeFromCRL, for deltas). `number` None: one more than the last. `next_update` None: left out.
        `delta_of`: the base's number, which makes it a delta. `idp`: DER of IssuingDistributionPoint.
        `extensions`: pairs of OID and DER, or triples with critical. `signer`: another key, for bad signatures."""
        now = int(time.time())
        if number is None:
            self.crl_number += 1
            number = self.crl_number
        else:
            self.crl_number = max(self.crl_number, number)
        this_update = now - 60 if this_update is None else this_update
        next_update = now + 7 * DAY if next_update == "week" else next_update
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()).key_identifier
        wanted = [("2.5.29.35", der.sequence(der.context(0, aki, constructed=False))),
                  ("2.5.29.20", der.integer(number))]
        if delta_of is not None:
            wanted.append(("2.5.29.27", der.integer(delta_of), True))
        if idp is not None:
            wanted.append(("2.5.29.28", idp, True))
        entries = b"".join(_crl_entry(r, this_update) for r in revoked)
        algorithm = _algorithm(self.key)
        tbs = der.sequence(
            der.integer(1), algorithm, (issuer or self.subject).public_bytes(), der.time(this_update),
            der.time(next_update) if next_update is not None else b"", der.sequence(entries) if entries else b"",
            der.context(0, der.sequence(*(der.extension(*e) for e in [*wanted, *extensions]))))
        signature = _sign(signer or self.key, tbs)
        crl = der.sequence(tbs, algorithm, der.bits(signature))
        return _pem("X509 CRL", crl) if pem else crl

    def write_crl(self, path, *args, **kw):
        """crl() into a file, replaced at once as a whole; returns the path."""
        replace_file(path, self.crl(*args, **kw))
        return str(path)


def replace_file(path, content):
    part = "%s.part" % path
    with open(part, "wb") as f:
        f.write(content)
    os.chmod(part, 0o644)
    os.rename(part, path)


def _crl_entry(entry, when):
    serial, reason = entry, None
    if isinstance(entry, Identity):
        serial = entry.serial
    elif isinstance(entry, tuple):
        serial, reason, *rest = entry
        serial = serial.serial if isinstance(serial, Identity) else serial
        when = rest[0] if rest else when
    extra = b"" if reason is None else der.sequence(der.extension("2.5.29.21", der.enumerated(reason)))
    return der.sequence(der.integer(serial), der.time(when), extra)


def _replaced(tbs, old, new):
    """tbsCertificate with one element right below it replaced."""
    assert tbs.count(old) == 1
    head = 2 + (tbs[1] & 0x7F if tbs[1] & 0x80 else 0)
    return der.sequence(tbs[head:].replace(old, new))


RSA_SIGNATURES = {"md5": "1.2.840.113549.1.1.4", "sha1": "1.2.840.113549.1.1.5", "sha256": "1.2.840.113549.1.1.11"}
ECDSA_SIGNATURES = {"sha1": "1.2.840.10045.4.1", "sha256": "1.2.840.10045.4.3.2"}


def _algorithm(key, digest=hashes.SHA256()):
    if isinstance(key, rsa.RSAPrivateKey):
        return der.sequence(der.oid(RSA_SIGNATURES[digest.name]), b"\x05\0")
    return der.sequence(der.oid(ECDSA_SIGNATURES[digest.name]))


def _sign(key, data, digest=hashes.SHA256()):
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest)
    return key.sign(data, ec.ECDSA(digest))


def _pem(label, content):
    import base64
    text = base64.encodebytes(content).replace(b"\n", b"")
    lines = [text[i:i + 64] for i in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN %s-----" % label.encode(), *lines, b"-----END %s-----" % label.encode(), b""])


def _oid(value):
    return x509.ObjectIdentifier(value) if isinstance(value, str) else value


def _key_usage(wanted):
    all_of_them = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                   "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{bit: bit in wanted for bit in all_of_them})


class Pki:
    """What most tests need: a server CA, a device CA below a root, and the server's certificate."""

    def __init__(self):
        self.server_ca = Authority("CN=Test Server CA,O=Example")
        self.root = Authority("CN=Test Root,O=Example")
        self.device_ca = Authority("CN=Test Device CA,O=Example", parent=self.root, path_length=0)
        self.other_ca = Authority("CN=Another CA,O=Elsewhere")
        self.mail = self.server_ca.server("mail.example.com", "autodiscover.example.com")
