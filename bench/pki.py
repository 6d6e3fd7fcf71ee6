"""The certificates and revocation lists of a bench run, made anew each time into a folder.

A P-256 root, a device CA under it, a server certificate and device certificates with the UPN in the
SAN. CRLs of a million entries are written as DER here, because building them by object takes minutes.
"""
import base64
import datetime
import os
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "mail.bench.example"
REALM = "CORP.EXAMPLE"           # the test domain's: domain.py
UPN_OID = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # AlgorithmIdentifier


def der(tag, content):
    """One DER value."""
    n = len(content)
    if n < 0x80:
        return bytes((tag, n)) + content
    size = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def utc_time(when):
    return der(0x17, when.strftime("%y%m%d%H%M%SZ").encode())


def crl_pem(issuer, key, count, known=(), number=1):
    """A v2 CRL of `count` random 16-byte serials in no order, as revocations happen, and the `known`."""
    now = datetime.datetime.utcnow().replace(microsecond=0)
    day = utc_time(now - datetime.timedelta(days=1))
    random = os.urandom(16 * count)
    head = b"\x30" + bytes((18 + len(day),)) + b"\x02\x10"
    entries = b"".join(
        head + bytes((0x40 | random[i] & 0x3F,)) + random[i + 1:i + 16] + day
        for i in range(0, 16 * count, 16))
    entries += b"".join(der(0x30, der(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, "big")) + day)
                        for serial in known)
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
    extensions = der(0x30, b"".join((
        der(0x30, bytes.fromhex("0603551d23") + der(0x04, der(0x30, der(0x80, key_id)))),
        der(0x30, bytes.fromhex("0603551d14") + der(0x04, der(0x02, bytes((number,))))))))
    tbs = der(0x30, b"".join((
        der(0x02, b"\x01"), ECDSA_SHA256, issuer.public_bytes(), utc_time(now),
        utc_time(now + datetime.timedelta(days=7)),
        der(0x30, entries) if entries else b"", der(0xA0, extensions))))
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    whole = der(0x30, tbs + ECDSA_SHA256 + der(0x03, b"\0" + signature))
    return b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(whole) + b"-----END X509 CRL-----\n"


def key_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def cert_pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def name_of(common_name):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Bench"),
                      x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def certificate(subject, key, issuer, issuer_key, extensions, days=30):
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now - datetime.timedelta(hours=1))
               .not_valid_after(now + datetime.timedelta(days=days)))
    common = [(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
              (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)]
    for extension, critical in common + extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def hashed(password):
    """As mkpasswd writes it: crypt(3), SHA-512."""
    done = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=password.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def usage(signing_certificates):
    return (x509.KeyUsage(digital_signature=not signing_certificates, content_commitment=False,
                          key_encipherment=False, data_encipherment=False, key_agreement=False,
                          key_cert_sign=signing_certificates, crl_sign=signing_certificates,
                          encipher_only=False, decipher_only=False), True)


class Pki:
    """Files: ca.pem, server.pem and .key, one PEM for each device, `devices`, `revoked`, accounts.yaml, CRLs.

    chain=1: the device CA is the root. chain=2: it stands under the root. Devices send their own
    certificate only.
    """

    host = HOST

    def __init__(self, folder, devices, chain=1, password=""):
        self.folder = folder
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        ca = [(x509.BasicConstraints(ca=True, path_length=None), True), usage(True)]
        self.root_name = name_of("Bench root")
        self.root = certificate(self.root_name, self.root_key, self.root_name, self.root_key, ca)
        self.issuers = [(self.root, self.root_key)]
        if chain == 2:
            key = ec.generate_private_key(ec.SECP256R1())
            self.issuers.insert(0, (certificate(name_of("Bench device CA"), key, self.root_name,
                                                self.root_key, ca), key))
        self.ca, self.ca_key = self.issuers[0]
        self.write("device-ca.pem", cert_pem(self.ca))
        self.write("root.pem", cert_pem(self.root))
        self.write("ca.pem", b"".join(cert_pem(issuer) for issuer, _ in self.issuers))
        if chain == 2:
            self.write("root-crl.pem", crl_pem(self.root_name, self.root_key, 0))
        self._server()
        self.users = [f"user{i:05d}" for i in range(devices + 1)]
        serials = [self._device(user) for user in self.users]
        self.revoked = serials[-1]      # the last one is in every CRL
        lines = [f"{self.path(user + '.pem')} {user} BENCH{i:06d}\n"
                 for i, user in enumerate(self.users)]
        self.write("devices", "".join(lines[:-1]).encode())
        self.write("revoked", lines[-1].encode())
        secret = f'password: "{hashed(password)}", ' if password else ""
        self.write("accounts.yaml", ("accounts:\n" + "".join(
            f"  - {{sam: {user}, upn: {user}@bench.example, sid: S-1-5-21-1-2-3-{1104 + i}, "
            f"mail: {user}@bench.example, realm: {REALM}, enabled: true, "
            f"{secret}groups: [], alt_security_identities: []}}\n"
            for i, user in enumerate(self.users))).encode())

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        mode = 0o600 if b"PRIVATE KEY" in data[:4096] else 0o644
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
            f.write(data)

    def _server(self):
        key = ec.generate_private_key(ec.SECP256R1())
        cert = certificate(name_of(HOST), key, self.root_name, self.root_key, [
            usage(False), (x509.SubjectAlternativeName([x509.DNSName(HOST)]), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
        self.write("server.pem", cert_pem(cert))
        self.write("server.key", key_pem(key))
        self.write("server-both.pem", cert_pem(cert) + key_pem(key))

    def _device(self, user):
        key = ec.generate_private_key(ec.SECP256R1())
        upn = x509.OtherName(UPN_OID, der(0x0C, f"{user}@bench.example".encode()))
        cert = certificate(name_of(user), key, self.ca.subject, self.ca_key, [
            usage(False), (x509.SubjectAlternativeName([upn]), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)])
        self.write(user + ".pem", cert_pem(cert) + key_pem(key))
        return cert.serial_number

    def crls(self, count):
        """[(its CA's certificate, CRL)] for every issuer, `count` entries in the device CA's."""
        path = self.path(f"crl-{count}.pem")
        if not os.path.exists(path):
            self.write(path, crl_pem(self.ca.subject, self.ca_key, count, [self.revoked]))
        found = [(self.path("device-ca.pem"), path)]
        if len(self.issuers) == 2:
            found.append((self.path("root.pem"), self.path("root-crl.pem")))
        return found

    def crl_bundle(self, count):
        """The same in one file, as HAProxy and nginx want them."""
        parts = [path for _, path in self.crls(count)]
        if len(parts) == 1:
            return parts[0]
        bundle = self.path(f"crl-{count}-bundle.pem")
        if not os.path.exists(bundle):
            data = b""
            for part in parts:
                with open(part, "rb") as f:
                    data += f.read()
            self.write(bundle, data)
        return bundle
