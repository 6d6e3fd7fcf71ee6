"""A new issuing CA while devices enrol: who began before goes on with what he knows, and what the old CA signed is answered for until it ends."""
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from site_ import scep
from site_.process import wait_until
from site_.ways import running

pytestmark = pytest.mark.no_asan        # its parsers are fuzzed; what is new here is the order of things


def loaded(reply):
    assert reply.status == "0", (reply.http_status, reply.status, reply.fail_info)
    return x509.load_der_x509_certificate(reply.certificate)


def signers(reply):
    """The certificates in a CertRep, as DER: its signer's."""
    signed = scep.parts(scep.parts(scep.parts(scep.read(reply.body)[1])[1][1])[0][1])
    return [whole for tag, inside, _ in signed if tag == 0xA0 for _, _, whole in scep.parts(inside)]


def ocsp(site, *about):
    """openssl's answer about (issuer's file, serial), all in one request."""
    asked = [word for issuer, serial in about for word in ("-issuer", issuer, "-serial", "0x%x" % serial)]
    done = subprocess.run(["openssl", "ocsp", *map(str, asked), "-CAfile", str(site.root), "-verify_other", str(about[0][0]), "-url", "http://%s/ocsp" % site.plain],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    return done.stdout.decode()


def test_a_rollover_in_the_middle_of_everything(place):
    with running(place) as site:
        folder = site.place / "state" / "ca"
        first, waits = site.client(), site.client()
        one = loaded(first.enroll(site.secret(), "one"))
        old_ra = first.ra.public_bytes(serialization.Encoding.DER)
        site.command("ca", "rollover")
        site.program.reload()
        announced = lambda: b"GetNextCACert" in site.curl(site.scep + "?operation=GetCACaps")
        wait_until(announced, 10)
        site.command("ca", "rollover", "--activate")
        site.program.reload()
        wait_until(lambda: not announced(), 10)
        issuers = [folder / ("issuing-%d.pem" % n) for n in (1, 2)]
        # who read GetCACert before: his message opens, the answer is signed by the RA that he knows, the certificate is the new CA's
        reply = waits.enroll(site.secret(), "two")
        two = loaded(reply)
        new = x509.load_pem_x509_certificate(issuers[1].read_bytes())
        assert two.issuer == new.subject and signers(reply) == [old_ra]
        assert scep.Client(site.scep, (folder / "ra-2.pem").read_bytes()).enroll(site.secret(), "three").status == "0"
        # each CA answers for its own: by OCSP, and by the list that its name asks for
        for issuer, certificate in zip(issuers, (one, two)):
            text = ocsp(site, (issuer, certificate.serial_number))
            assert "Response verify OK" in text and ": good" in text, text
        assert "unauthorized" in ocsp(site, (issuers[0], one.serial_number), (issuers[1], two.serial_number))
        text = ocsp(site, (issuers[1], one.serial_number))
        assert ": unknown" in text, "the new CA knows nothing of what the old one signed: %s" % text
        # renewed by its old certificate, and its list fetched by the new one
        key = scep.new_key()
        three = loaded(site.client(key=first.key).enroll(csr=scep.request(key), transaction="renewal", kind=scep.RENEWAL_REQ,
                                                         signer=one.public_bytes(serialization.Encoding.DER)))
        assert three.issuer == new.subject
        for certificate, issuer in ((one, issuers[0]), (three, issuers[1])):
            fetched = site.client(key=key).fetch(scep.GET_CRL, certificate, key, three.public_bytes(serialization.Encoding.DER))
            assert x509.load_der_x509_crl(fetched.crl).is_signature_valid(x509.load_pem_x509_certificate(issuer.read_bytes()).public_key())
