"""PKITS as configurations of the proxy: which cases can share one, and what each presents.

Everybody in the suite chains to one trust anchor, and almost every CA has one key and one CRL, so most cases fit into
one configuration: a case needs another one only where it says something else of an issuer than an earlier case does.
"""
import gzip
import hashlib
import json
import os
import re
import ssl
import warnings

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from .proxy import ROOT

POLICY_SECTIONS = ("408", "409", "410", "411", "412")       # 4.8 to 4.12 of the PKITS document


def suite(name):
    """Path of a file of the public suites, or None where they are not there."""
    path = os.path.join(os.environ.get("SUITES", os.path.join(ROOT, "..", "shared", "suites")), name)
    return path if os.path.exists(path) else None


def load(path):
    with gzip.open(path) as f, warnings.catch_warnings():
        warnings.simplefilter("ignore")             # some of the certificates are wrong on purpose
        return [Case(entry) for entry in json.load(f)]


class Case:
    """One case. `sources`: {issuer's SPKI hash: (CA as PEM, CRL or None, delta CRL or None)} for every issuer in it."""

    def __init__(self, entry):
        self.name, self.good = entry["name"], entry["exp"] == "accept"
        self.is_policy = self.name.startswith(POLICY_SECTIONS)
        self.chain, self.key, self.anchor = entry["chain"].encode(), entry["key"].encode(), entry["ca"].encode()
        self.certs = [_load_certificate(p) for p in _blocks(self.chain)]
        self.sources = self._sources(_blocks(entry["crl"].encode()))

    @property
    def claim(self):
        """What altSecurityIdentities says of the presented key: it needs no name that a case may have made strange."""
        return "X509:<SHA1-PUKEY>" + hashlib.sha1(_bit_string(_spki(self.certs[0]))).hexdigest()

    def _sources(self, pems):
        issuers = {}
        for cert in [*self.certs[1:], x509.load_pem_x509_certificate(self.anchor)]:
            issuers.setdefault(_spki_hash(cert), cert)
        crls = [(p, _load_crl(p)) for p in pems]
        sources, left = {}, list(crls)
        for key, cert in issuers.items():
            own = [c for c in crls if c[1] is not None and c[1].issuer == cert.subject]
            whole = [c for c in own if not _has_point(c[1]) and any(_signed_by(c[1], x) for x in issuers.values())]
            signed = [c for c in own if _signed_by(c[1], cert)]
            # A list of all its certificates, even by another key of its, before one of some of them.
            signed = [c for c in signed if c in whole] or whole or signed or own
            left = [c for c in left if c not in signed]
            sources[key] = (cert, _first(signed, False), _first(signed, True))
        # A list under nobody's name was put there for the CA that has none, and must be found to be wrong.
        for key, (cert, base, delta) in sources.items():
            if base is None and left:
                sources[key] = (cert, left.pop(0)[0], delta)
        return {key: (self._issuer_file(cert, issuers.values()), base, delta) for key, (cert, base, delta) in sources.items()}

    @staticmethod
    def _issuer_file(cert, others):
        """The CA, and behind it its other keys: it may sign its list with one of them."""
        same = [c for c in others if c is not cert and c.subject == cert.subject]
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in [cert, *same])


def grouped(cases):
    """Lists of cases that agree about every issuer; each with the sources of all."""
    groups = []
    for case in cases:
        for members, sources in groups:
            if all(sources.get(k, v)[1:] == v[1:] for k, v in case.sources.items()):
                break
        else:
            members, sources = [], {}
            groups.append((members, sources))
        members.append(case)
        for key, source in case.sources.items():
            sources.setdefault(key, source)
    return groups


def write_crls(place, sources):
    """Writes CA and CRL files; returns the list for proxy.revocation.crls."""
    os.makedirs(place, exist_ok=True)
    entries = []
    for number, (ca, base, delta) in enumerate(sources.values()):
        if base is None or not _usable(ca):
            continue
        entry = {}
        for key, content in (("issuer_ca", ca), ("file", base), ("delta_file", delta)):
            if content is not None:
                entry[key] = os.path.join(place, "%d.%s" % (number, key))
                with open(entry[key], "wb") as f:
                    f.write(content)
        entries.append(entry)
    return entries


def _blocks(pem):
    return [b + b"\n" for b in re.findall(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----", pem, re.S)]


class Unread:
    """A certificate that this version of the library cannot read: its bytes are there, and no name that it could share."""
    subject = None

    def __init__(self, pem):
        self.pem = pem
        self.tbs_certificate_bytes = _element(_contents(ssl.PEM_cert_to_DER_cert(pem.decode())))

    def public_bytes(self, _):
        return self.pem

    def public_key(self):
        raise ValueError("not read")


def _load_certificate(pem):
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        return Unread(pem)


def _load_crl(pem):
    try:
        return x509.load_pem_x509_crl(pem)
    except ValueError:
        return None


def _first(crls, delta):
    """The first list that is a delta, or is none."""
    for pem, crl in crls:
        if bool(list(filter(lambda e: e.oid.dotted_string == "2.5.29.27", crl.extensions))) == delta:
            return pem
    return None


def _has_point(crl):
    """Whether it names a distribution point: a list of only those certificates that name it too."""
    points = [e.value for e in crl.extensions if e.oid.dotted_string == "2.5.29.28"]
    return bool(points) and bool(points[0].full_name or points[0].relative_name)


def _signed_by(crl, cert):
    try:
        return crl.is_signature_valid(cert.public_key())
    except (TypeError, ValueError, InvalidSignature):
        return False


def _usable(ca):
    """A CA that lends its key's parameters from elsewhere cannot be configured as an issuer."""
    try:
        return isinstance(x509.load_pem_x509_certificate(ca).public_key(), (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
    except (ValueError, x509.UnsupportedGeneralNameType):
        return False


def _spki_hash(cert):
    """By the certificate's own bytes: not every key in the suite can be loaded."""
    return hashlib.sha256(_spki(cert)).hexdigest()


def _spki(cert):
    """SubjectPublicKeyInfo: in tbsCertificate behind version, serial, algorithm, issuer, validity and subject."""
    rest = _contents(cert.tbs_certificate_bytes)
    for _ in range(6 if rest[0] == 0xA0 else 5):
        rest = rest[len(_element(rest)):]
    return _element(rest)


def _bit_string(spki):
    rest = _contents(spki)
    return _contents(rest[len(_element(rest)):])[1:]


def _element(data):
    size, head = data[1], 2
    if size & 0x80:
        head, size = 2 + (size & 0x7F), int.from_bytes(data[2:2 + (size & 0x7F)], "big")
    return data[:head + size]


def _contents(data):
    element = _element(data)
    return element[2 + (element[1] & 0x7F if element[1] & 0x80 else 0):]
