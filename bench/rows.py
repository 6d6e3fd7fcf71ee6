"""What is measured: a row is a name of build/bench.json, how to measure it, and the target it has.

Rows with `table_only` say more to people and are not in build/bench.json.
"""
from dataclasses import dataclass, field

FEW, MANY = 10, 100_000
MILLION = 1_000_000
KERBEROS_ACCOUNTS = 32              # each connection has its own account, and so its own ticket
PASSWORD = "correct horse"          # every account's; of no use elsewhere
KIB64, MIB1, MIB16 = 64 << 10, 1 << 20, 16 << 20


@dataclass
class Row:
    name: str
    what: str
    measure: str = "cpu"            # cpu, held, kerberos or revocations
    unit: str = "us"
    mode: str = "full"              # of bench-load
    variant: str = "tuned"          # of the peers
    sample: str = "sample"          # of easproxy
    crl: int = FEW                  # revoked certificates known
    ops: int = 1000
    peer_ops: int = 0               # where the peers are so slow that fewer must do; 0: ops
    options: dict = field(default_factory=dict)
    only: tuple = ()                # the proxies that have such a variant; (): all
    target: float = 0.0             # of the ratio; 0: none
    near: str = ""                  # easproxy must be within `within` of its own figure in this row
    within: float = 1.05
    over: str = ""                  # what easproxy's figure adds to its own in this row is told
    adds: float = 0.0               # the target of that; 0: none
    table_only: bool = False

    def variant_of(self, kind):
        return self.sample if kind == "easproxy" else self.variant


def body(name, what, ops, connections, target=0.0, **sizes):
    return Row(name, what, mode="keepalive", variant="bodies", ops=ops, target=target,
               options=dict(connections=connections, **sizes), table_only=name != "body_1m")


ROWS = [
    Row("full_handshake", "full handshake + request; peers with TLS tickets, as the packages do",
        variant="tickets", target=0.65),
    Row("full_handshake_tickets_off", "the same; peers without tickets", target=0.85),
    Row("full_crl_100k", "the same, 100,000 revoked", crl=MANY, peer_ops=200, target=0.12,
        near="full_handshake_tickets_off"),
    Row("full_crl_1m", "the same, 1,000,000 revoked", crl=MILLION, peer_ops=16, target=0.01,
        near="full_handshake_tickets_off"),
    Row("resumed", "resumed handshake + request", mode="resumed", variant="resumed", ops=1500,
        target=0.50),
    Row("resumed_private", "the same; nginx with a cache that workers do not share",
        mode="resumed", variant="private", ops=1500, only=("easproxy", "nginx"), table_only=True),
    Row("keepalive_small", "request on a kept connection", mode="keepalive", ops=30000,
        options={"connections": 32}, target=0.95),
    Row("keepalive_kerberos", "the same; a Kerberos token for each request, from a cached ticket",
        measure="kerberos", mode="keepalive", sample="kerberos", ops=30000,
        options={"connections": KERBEROS_ACCOUNTS}, only=("easproxy",), over="keepalive_small", adds=60.0),
    Row("keepalive_guarded", "keepalive_small beside the lockout guard: passwords are taken, too", mode="keepalive",
        sample="passwords", ops=30000, options={"connections": 32}, only=("easproxy",), near="keepalive_small", within=1 / 0.98),
    Row("password_connection", "full handshake + request, no certificate, a password that is remembered", measure="password",
        sample="passwords", ops=64, options={"connections": 4, "password": PASSWORD}, only=("easproxy",),
        over="full_handshake_tickets_off"),
    Row("password_kept", "request with that password on a kept connection", measure="password", mode="keepalive",
        sample="passwords", ops=30000, options={"connections": 32, "password": PASSWORD}, only=("easproxy",),
        over="keepalive_small"),
    body("body_64k", "64 KiB down", 4000, 16, down=KIB64),
    body("body_1m", "1 MiB down", 600, 8, target=0.95, down=MIB1),
    body("body_16m", "16 MiB down", 30, 4, down=MIB16),
    body("upload_64k", "64 KiB up", 4000, 16, up=KIB64),
    body("upload_1m", "1 MiB up", 400, 8, up=MIB1),
    body("upload_16m", "16 MiB up", 25, 4, up=MIB16),
    Row("held_ping_bytes", "memory of a held Ping, both its connections", measure="held",
        unit="bytes", ops=8000, target=0.85),
    Row("revocations_1m_bytes", "memory for 1,000,000 revocations", measure="revocations",
        unit="bytes", crl=MILLION, target=0.12),
]
