"""A SCEP client (RFC 8894) made of DER, so that each message can be wrong in one place; and its answers, opened."""
import base64
import datetime
import hashlib
import os
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from . import der

ARC = "2.16.840.1.113733.1.9."
DATA, SIGNED, ENVELOPED = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.2", "1.2.840.113549.1.7.3"
RSA, OAEP, SHA256 = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.7", "2.16.840.1.101.3.4.2.1"
CIPHERS = {"aes128": ("2.16.840.1.101.3.4.1.2", algorithms.AES, 16, 16), "aes256": ("2.16.840.1.101.3.4.1.42", algorithms.AES, 32, 16),
           "des3": ("1.2.840.113549.3.7", algorithms.TripleDES, 24, 8)}
CHALLENGE, EXTENSIONS = "1.2.840.113549.1.9.7", "1.2.840.113549.1.9.14"
PKCS_REQ, RENEWAL_REQ, POLL, GET_CERT, GET_CRL = 19, 17, 20, 21, 22
NULL = b"\x05\x00"


def new_key(bits=2048, e=65537):
    return rsa.generate_private_key(e, bits)


def public(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def name(cn="Administrator", form=der.utf8):
    return der.sequence(der.tlv(0x31, der.sequence(der.oid("2.5.4.3"), form(cn))))


def request(key, challenge=None, subject=None, extensions=b"", spki=None, sign=None, form=der.utf8, attributes=b""):
    """A PKCS#10. extensions: the SEQUENCE's contents; spki, sign: another public key, another's signature; attributes: more of them."""
    if challenge is not None:
        attributes += der.sequence(der.oid(CHALLENGE), der.tlv(0x31, form(challenge)))
    if extensions:
        attributes += der.sequence(der.oid(EXTENSIONS), der.tlv(0x31, der.sequence(extensions)))
    info = der.sequence(der.integer(0), subject or name(), spki or public(key), der.context(0, attributes))
    signature = (sign or key).sign(info, rsa_padding.PKCS1v15(), hashes.SHA256())
    return der.sequence(info, der.sequence(der.oid("1.2.840.113549.1.1.11"), NULL), der.bits(signature))


def self_signed(key, cn="SCEP SIGNER", version=3, serial=1):
    """The certificate that a first request is signed with, as DER; its names mean nothing."""
    now = datetime.datetime.utcnow()
    algorithm = der.sequence(der.oid("1.2.840.113549.1.1.11"), NULL)
    info = der.sequence(der.context(0, der.integer(2)) if version == 3 else b"", der.integer(serial), algorithm, name(cn),
                        der.sequence(der.time(now - datetime.timedelta(hours=1)), der.time(now + datetime.timedelta(days=1))), name(cn), public(key))
    return der.sequence(info, algorithm, der.bits(key.sign(info, rsa_padding.PKCS1v15(), hashes.SHA256())))


def indefinite(tag, *parts):
    """BER as Apple's library writes it."""
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def issuer_and_serial(certificate):
    return der.sequence(certificate.issuer.public_bytes(), der.integer(certificate.serial_number))


def padded(text, block):
    pad = padding.PKCS7(8 * block).padder()
    return pad.update(text) + pad.finalize()


def envelope(recipient, content, cipher="aes256", oaep=False, ber=False, wrapped=None, session=None, cut=0, broken=False):
    """EnvelopedData. wrapped: what stands for the encrypted key; broken: the content's padding is wrong; cut: bytes missing at its end."""
    identifier, algorithm, size, block = CIPHERS[cipher]
    session, vector = session or os.urandom(size), os.urandom(block)
    line = Cipher(algorithm(session), modes.CBC(vector)).encryptor()
    text = padded(content, block)
    text = text[:-1] + b"\xff" if broken else text
    text = line.update(text) + line.finalize()
    text = text[:len(text) - cut]
    transport = der.sequence(der.oid(OAEP), der.sequence()) if oaep else der.sequence(der.oid(RSA), NULL)
    if wrapped is None:
        pad = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA1()), hashes.SHA1(), None) if oaep else rsa_padding.PKCS1v15()
        wrapped = recipient.public_key().encrypt(session, pad)
    to = der.sequence(der.integer(0), issuer_and_serial(recipient), transport, der.octets(wrapped))
    how = der.sequence(der.oid(identifier), der.octets(vector))
    if ber:
        pieces = b"".join(der.octets(text[i:i + 1000]) for i in range(0, len(text), 1000))
        inside = indefinite(0x30, der.oid(DATA), how, indefinite(0xA0, pieces))
        return indefinite(0x30, der.oid(ENVELOPED), indefinite(0xA0, indefinite(0x30, der.integer(0), der.tlv(0x31, to), inside)))
    inside = der.sequence(der.oid(DATA), how, der.context(0, text, constructed=False))
    return der.sequence(der.oid(ENVELOPED), der.context(0, der.sequence(der.integer(0), der.tlv(0x31, to), inside)))


def attribute(dotted, value):
    return der.sequence(der.oid(dotted), der.tlv(0x31, value))


def printable(text):
    return der.tlv(0x13, text if isinstance(text, bytes) else text.encode())


def message(kind, transaction, inside, key, signer, ber=False, nonce=None):
    """A pkiMessage: `inside` is an envelope, `signer` the DER of key's certificate."""
    nonce = nonce or os.urandom(16)
    attributes = sorted([attribute("1.2.840.113549.1.9.3", der.oid(DATA)),
                         attribute("1.2.840.113549.1.9.4", der.octets(hashlib.sha256(inside).digest())),
                         attribute(ARC + "2", printable(str(kind))), attribute(ARC + "5", der.octets(nonce)),
                         attribute(ARC + "7", printable(transaction))])
    signature = key.sign(der.tlv(0x31, *attributes), rsa_padding.PKCS1v15(), hashes.SHA256())
    certificate = x509_names(signer)
    info = der.sequence(der.integer(1), der.sequence(*certificate), der.sequence(der.oid(SHA256), NULL), der.context(0, *attributes),
                        der.sequence(der.oid(RSA), NULL), der.octets(signature))
    algorithms_ = der.tlv(0x31, der.sequence(der.oid(SHA256), NULL))
    if ber:
        pieces = b"".join(der.octets(inside[i:i + 1000]) for i in range(0, len(inside), 1000))
        content = indefinite(0x30, der.oid(DATA), indefinite(0xA0, indefinite(0x24, pieces)))
        return indefinite(0x30, der.oid(SIGNED), indefinite(0xA0, indefinite(0x30, der.integer(1), algorithms_, content, der.context(0, signer),
                                                                            der.tlv(0x31, info))))
    content = der.sequence(der.oid(DATA), der.context(0, der.octets(inside)))
    return der.sequence(der.oid(SIGNED), der.context(0, der.sequence(der.integer(1), algorithms_, content, der.context(0, signer),
                                                                     der.tlv(0x31, info))))


def read(data, at=0):
    """(tag, contents, where the next one begins) of definite-length BER."""
    tag, first = data[at], data[at + 1]
    at += 2
    if first & 0x80:
        size = int.from_bytes(data[at:at + (first & 0x7F)], "big")
        at += first & 0x7F
    else:
        size = first
    return tag, data[at:at + size], at + size


def parts(contents):
    out, at = [], 0
    while at < len(contents):
        tag, inside, end = read(contents, at)
        out.append((tag, inside, contents[at:end]))
        at = end
    return out


def x509_names(signer):
    """(issuer, serial) of a certificate of any version, as they stand in it."""
    info = parts(parts(read(signer)[1])[0][1])
    info = info[1:] if info[0][0] == 0xA0 else info
    return info[2][2], info[0][2]


class Reply:
    """A CertRep: status ("0" success, "2" failure, "3" pending), fail_info, and what was in the envelope."""

    def __init__(self, http_status, body, key=None):
        self.http_status, self.body = http_status, body
        self.status = self.fail_info = self.transaction = self.inside = None
        if http_status != 200:
            return
        signed = parts(parts(parts(read(body)[1])[1][1])[0][1])
        content = parts(signed[2][1])
        info = next(one for one in reversed(signed) if one[0] == 0x31)
        signer = parts(parts(info[1])[0][1])
        self.attributes = {}
        for _, one, _ in parts(next(inside for tag, inside, _ in signer if tag == 0xA0)):
            (_, _, identifier), (_, values, _) = parts(one)
            self.attributes[identifier] = parts(values)[0][1]
        self.status, self.transaction = self._text("3"), self._text("7")
        self.fail_info = self._text("4")
        self.recipient_nonce = self.attributes.get(der.oid(ARC + "6"))
        if len(content) > 1 and key is not None and self.status == "0":
            self.inside = opened(parts(content[1][1])[0][1], key)

    def _text(self, last):
        value = self.attributes.get(der.oid(ARC + last))
        return None if value is None else value.decode()

    @property
    def certificate(self):
        """The DER of the issued certificate; None if there is none."""
        if self.inside is None:
            return None
        signed = parts(parts(parts(read(self.inside)[1])[1][1])[0][1])
        certificates = next((inside for tag, inside, _ in signed if tag == 0xA0), None)
        return parts(certificates)[0][2] if certificates else None

    @property
    def crl(self):
        signed = parts(parts(parts(read(self.inside)[1])[1][1])[0][1])
        return parts(next(inside for tag, inside, _ in signed if tag == 0xA1))[0][2]

    def facts(self):
        """All that tells two refusals apart, but for nonces, signature and length of the answer's names."""
        return self.http_status, self.status, self.fail_info, self.inside, len(self.body)


def opened(envelope_der, key):
    enveloped = parts(parts(parts(read(envelope_der)[1])[1][1])[0][1])
    to = parts(parts(next(inside for tag, inside, _ in enveloped if tag == 0x31))[0][1])
    content = parts(next(inside for tag, inside, _ in reversed(enveloped) if tag == 0x30))
    identifier, vector = (one[2] for one in parts(content[1][1]))
    algorithm = next(how for how in CIPHERS.values() if der.oid(how[0]) == identifier)[1]
    session = key.decrypt(to[-1][1], rsa_padding.PKCS1v15())
    line = Cipher(algorithm(session), modes.CBC(read(vector)[1])).decryptor()
    text = content[2][1]
    text = b"".join(one[1] for one in parts(text)) if content[2][0] == 0xA0 else text
    text = line.update(text) + line.finalize()
    return text[:-text[-1]]


class Client:
    """One device: a key and the certificate that it signs with."""

    def __init__(self, url, ra, key=None, signer=None):
        self.url, self.ra = url, x509.load_pem_x509_certificate(ra)
        self.key = key or new_key()
        self.signer = signer or self_signed(self.key)

    def post(self, body, get=False):
        if get:
            question = urllib.request.Request(self.url + "?operation=PKIOperation&message=" + base64.b64encode(body).decode())
        else:
            question = urllib.request.Request(self.url + "?operation=PKIOperation", data=body,
                                              headers={"Content-Type": "application/x-pki-message"})
        try:
            with urllib.request.urlopen(question, timeout=30) as answer:
                return Reply(answer.status, answer.read(), self.key)
        except urllib.error.HTTPError as e:
            return Reply(e.code, e.read())

    def enroll(self, challenge=None, transaction=None, kind=PKCS_REQ, csr=None, key=None, signer=None, ber=False, get=False, nonce=None, **how):
        """csr, key, signer: others than this client's. `how` is envelope()'s."""
        csr = csr if csr is not None else request(key or self.key, challenge)
        transaction = transaction or hashlib.sha1(public(self.key)).hexdigest().upper()
        inside = envelope(self.ra, csr, ber=ber, **how)
        return self.post(message(kind, transaction, inside, key or self.key, signer or self.signer, ber, nonce), get)

    def poll(self, transaction=None, issuer=None):
        """CertPoll: IssuerAndSubject (RFC 8894 section 3.3.3)."""
        content = der.sequence((issuer or self.ra).issuer.public_bytes(), name())
        return self.enroll(transaction=transaction, kind=POLL, csr=content)

    def fetch(self, kind, certificate, key, signer):
        """GetCert or GetCRL for this certificate, asked for by `signer`."""
        return self.enroll(kind=kind, csr=issuer_and_serial(certificate), key=key, signer=signer)
