"""A stranger's token service: its keys, and tokens right and wrong."""
import base64
import hashlib
import hmac
import json
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER, AUDIENCE = "https://login.example.com/t", "https://mail.example.com"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n, size):
    return b64(n.to_bytes(size, "big"))


class Issuer:
    def __init__(self):
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())

    def jwks(self):
        r, e = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        return {"keys": [{"kty": "RSA", "kid": "r1", "use": "sig", "n": number(r.n, 256), "e": number(r.e, 3)},
                         {"kty": "EC", "kid": "e1", "crv": "P-256", "x": number(e.x, 32), "y": number(e.y, 32)}]}

    def claims(self, **changes):
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, "nbf": now - 10, "upn": "alice@corp.example", **changes}
        return {k: v for k, v in claims.items() if v is not None}

    def sign(self, alg, data, key=None):
        if alg[:2] == "HS":
            return hmac.new(key, data, hashlib.sha256).digest()
        if alg == "none":
            return b""
        if alg == "ES256":
            r, s = decode_dss_signature((key or self.ec).sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        pad = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if alg[0] == "P" else padding.PKCS1v15()
        return (key or self.rsa).sign(data, pad, hashes.SHA256())

    def token(self, alg="RS256", header=None, claims=None, key=None, text=None, **changes):
        head = {"alg": alg, "typ": "JWT", "kid": "e1" if alg == "ES256" else "r1"}
        head.update(header or {})
        head = {k: v for k, v in head.items() if v is not None}
        body = text if text is not None else json.dumps(claims or self.claims(**changes))
        data = (b64(json.dumps(head).encode()) + "." + b64(body.encode())).encode()
        return data.decode() + "." + b64(self.sign(alg, data, key))


def bearer(token):
    return [("Authorization", "Bearer " + token)]


class KeyServer:
    """The issuer's HTTPS server, which publishes its keys: `answer` is what it says, `asked` how often somebody came."""

    def __init__(self, identity, place):
        import http.server
        import ssl
        import threading
        self.answer, self.status, self.headers, self.drip, self.asked = b"", 200, [], None, 0
        self.changed = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with outer.changed:
                    outer.asked += 1
                    outer.changed.notify_all()
                self.send_response(outer.status)
                for header in outer.headers:
                    self.send_header(*header)
                self.send_header("Content-Length", str(len(outer.answer)))
                self.end_headers()
                try:
                    if outer.drip is None:
                        self.wfile.write(outer.answer)
                    else:
                        for at in range(len(outer.answer)):
                            self.wfile.write(outer.answer[at:at + 1])
                            if outer.drip.wait(0.2):
                                break
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*identity.write(place, "keys"))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def publish(self, keys):
        self.answer, self.status, self.headers = json.dumps(keys).encode(), 200, []

    def wait_asked(self, more=1, timeout=10):
        with self.changed:
            count = self.asked + more
            assert self.changed.wait_for(lambda: self.asked >= count, timeout), "nobody asked for the keys"

    def close(self):
        if self.drip is not None:
            self.drip.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
