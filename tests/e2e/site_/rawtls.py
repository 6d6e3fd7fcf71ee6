"""A TLS client that need not keep to the rules: any ClientHello, and in TLS 1.2 any Certificate message.

Up to there nothing is encrypted, so a certificate that no library would load or prove can be presented, and the alert
that answers it is read in plain text.
"""
import socket
import ssl
import struct

HANDSHAKE, ALERT = 22, 21
CERTIFICATE, SERVER_HELLO_DONE = 11, 14
ALERTS = {10: "unexpected message", 20: "bad record mac", 22: "record overflow", 40: "handshake failure",
          42: "bad certificate", 43: "unsupported certificate", 44: "certificate revoked", 45: "certificate expired",
          46: "certificate unknown", 47: "illegal parameter", 48: "unknown ca", 49: "access denied", 50: "decode error",
          51: "decrypt error", 70: "protocol version", 71: "insufficient security", 80: "internal error",
          112: "unrecognized name", 116: "certificate required", 120: "no application protocol"}


def client_hello(server_name="mail.example.com", maximum=ssl.TLSVersion.TLSv1_3, alpn=()):
    """The bytes of a usual first record."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, maximum
    if alpn:
        context.set_alpn_protocols(list(alpn))
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(received, sent, server_hostname=server_name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def records(kind, data, size=16384, version=0x0303):
    """`data` as records of at most `size` bytes."""
    return b"".join(struct.pack(">BHH", kind, version, len(data[at:at + size])) + data[at:at + size]
                    for at in range(0, len(data), size))


def message(kind, body):
    return struct.pack(">I", kind << 24 | len(body)) + body


def certificate_message(ders):
    entries = b"".join(len(d).to_bytes(3, "big") + d for d in ders)
    return message(CERTIFICATE, len(entries).to_bytes(3, "big") + entries)


class RawTls:
    """One connection. `answer` is the alert's name, "closed", or "accepted" when the server goes on waiting."""

    def __init__(self, address, timeout=10.0):
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffered = b""

    def send(self, data):
        self.sock.sendall(data)

    def _exactly(self, size):
        while len(self.buffered) < size:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.buffered += data
        taken, self.buffered = self.buffered[:size], self.buffered[size:]
        return taken

    def record(self):
        kind, _, size = struct.unpack(">BHH", self._exactly(5))
        return kind, self._exactly(size)

    def until_server_hello_done(self):
        """Reads the server's flight of TLS 1.2."""
        flight = b""
        while True:
            kind, data = self.record()
            if kind != HANDSHAKE:
                raise AssertionError("record type %d instead of a handshake: %s" % (kind, self._alert(data)))
            flight += data
            if flight.endswith(struct.pack(">I", SERVER_HELLO_DONE << 24)):
                return flight

    @staticmethod
    def _alert(data):
        return ALERTS.get(data[1], "alert %d" % data[1]) if len(data) == 2 else "alert of %d bytes" % len(data)

    def answer(self, patience=0.5):
        """What the server says to all that was sent. Silence for `patience` seconds means that it wants more."""
        self.sock.settimeout(patience)
        try:
            while True:
                kind, data = self.record()
                if kind == ALERT:
                    return self._alert(data)
        except TimeoutError:
            return "accepted"
        except (EOFError, ConnectionResetError):
            return "closed"

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def present(address, ders, server_name="mail.example.com", patience=0.5):
    """Presents these certificates, leaf first, by TLS 1.2 without proving a key: the server's answer to them alone."""
    with RawTls(address) as client:
        client.send(client_hello(server_name, ssl.TLSVersion.TLSv1_2))
        client.until_server_hello_done()
        client.send(records(HANDSHAKE, certificate_message(ders)))
        return client.answer(patience)
