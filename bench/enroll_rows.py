"""The rows of bench/enroll: a name of build/bench.json, how it is measured, what its limit is made of, the target of the ratio."""
from dataclasses import dataclass, field


@dataclass
class Row:
    name: str
    what: str
    measure: str
    unit: str = "us"
    ops: int = 0
    needs: dict = field(default_factory=dict)   # operations of the cryptography for one: how many of each
    limit: float = 0.0                          # where the target is a number, not cryptography
    target: float = 1.0
    new: int = 0                                # a connection for each
    method: str = ""
    distinct: int = 500


# What one enrolment cannot do without:
#   SCEP  the message's signature and the CSR's are verified (RSA-2048 public, twice), the envelope is opened (RSA private), the
#         certificate is signed (P-256), the answer encrypted to the device (RSA public) and signed by the RA (RSA private)
#   EST   the CSR's signature is verified (P-256), the certificate signed (P-256); over a connection of its own also the handshake's
#         key agreement (X25519: a key pair and the shared secret) and signature (P-256)
SCEP = {"rsa_private": 2, "rsa_public": 3, "ec_sign": 1}
EST = {"ec_verify": 1, "ec_sign": 1}
EST_NEW = {"ec_verify": 1, "ec_sign": 2, "x25519": 2}

ROWS = [
    Row("scep_issue", "PKCSReq with a one-time challenge, RSA-2048 device key, P-256 CA", "scep", ops=800, needs=SCEP, target=2.0),
    Row("est_issue", "simpleenroll with a one-time secret, P-256 throughout, a TLS connection each", "est", ops=1500, needs=EST_NEW,
        target=2.0, new=1),
    Row("est_issue_kept", "the same over kept connections", "est", ops=1500, needs=EST, target=2.0),
    Row("ocsp_get", "answer from the cache, GET, kept connections", "ocsp", ops=60000, limit=50.0, method="get"),
    Row("ocsp_post", "the same by POST", "ocsp", ops=60000, limit=50.0, method="post"),
    Row("portal_bytes", "the portal's first page, whole in one answer", "page", unit="bytes", limit=60000.0),
    Row("crl_1m_seconds", "a revocation until the list of 1,000,000 entries is in place", "million", unit="s", limit=5.0),
    Row("crl_1m_bytes", "peak memory of all processes meanwhile, a download included", "million", unit="bytes", limit=300e6),
    Row("crl_1m_wait_ms", "longest wait of an OCSP answer meanwhile", "million", unit="ms", limit=50.0),
    Row("crl_1m_est_wait_ms", "longest wait of an EST enrolment meanwhile", "million", unit="ms", limit=100.0),
]
