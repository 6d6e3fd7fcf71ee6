"""A phone: a mutual-TLS client that speaks ActiveSync, and may send any bytes. Also curl and openssl s_client."""
import base64
import ctypes
import os
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

from . import wbxml
from .http1 import Reader
from .netns import Netns

_libc = ctypes.CDLL(None, use_errno=True)
EAS = "/Microsoft-Server-ActiveSync"
CODES = {"Sync": 0, "SendMail": 1, "SmartForward": 2, "SmartReply": 3, "GetAttachment": 4, "FolderSync": 9,
         "FolderCreate": 10, "MoveItems": 13, "GetItemEstimate": 14, "Search": 16, "Settings": 17, "Ping": 18,
         "ItemOperations": 19, "Provision": 20}


def base64_query(command, device_id="ApplTEST0001", device_type="iPhone", version=161, locale=0x0409,
                 policy_key=None, parameters=()):
    """The query of MS-ASHTTP 2.2.1.1.1.1; `command` by name or number, `parameters` pairs of tag and bytes."""
    code = CODES[command] if isinstance(command, str) else command
    key = b"" if policy_key is None else struct.pack("<I", policy_key)
    texts = [t.encode() if isinstance(t, str) else t for t in (device_id, device_type)]
    out = struct.pack("<BBHB", version, code, locale, len(texts[0])) + texts[0]
    out += bytes([len(key)]) + key + bytes([len(texts[1])]) + texts[1]
    for tag, value in parameters:
        out += bytes([tag, len(value)]) + value
    return base64.b64encode(out).decode()


class Line:
    """One TLS (or, without a context, plain) connection to the proxy."""

    def __init__(self, sock, server_name, context, session=None, timeout=10.0):
        sock.settimeout(timeout)
        self.sock = sock
        if context:
            self.sock = context.wrap_socket(sock, server_hostname=server_name, session=session)
        self.reader = Reader(self._recv)
        self.opened_at = time.monotonic()

    def _recv(self, size):
        return self.sock.recv(size)

    @property
    def resumed(self):
        return self.sock.session_reused

    @property
    def session(self):
        """For connect(session=...). With TLS 1.3 there is one only after something was received."""
        return self.sock.session

    @property
    def tls_version(self):
        return self.sock.version()

    def send(self, data):
        self.sock.sendall(data)

    def response(self, method="POST"):
        """The next response; None when the proxy closed instead."""
        return self.reader.response(method)

    def request(self, method, target, headers=(), body=b"", host="mail.example.com", length=True):
        lines = ["%s %s HTTP/1.1" % (method, target), *(["Host: " + host] if host is not None else [])]
        lines += ["%s: %s" % h for h in headers]
        if length and (body or method == "POST"):
            lines.append("Content-Length: %d" % len(body))
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.response(method)

    def closed(self, timeout=5.0):
        """Whether the proxy closes within `timeout`, nothing more having been sent."""
        self.sock.settimeout(timeout)
        try:
            return not self.reader.fill()
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return True
        except TimeoutError:
            return False

    def close(self):
        self.sock.close()

    def vanish(self):
        """The phone is gone: no close_notify, a TCP reset at once, even while a thread reads here."""
        nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
        if _libc.connect(self.sock.fileno(), nowhere, len(nowhere)) != 0:
            raise OSError(ctypes.get_errno(), "connect to AF_UNSPEC")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Held:
    """A request whose answer may take an hour, read by a thread. `outcome` is a Response, None when the connection
    was closed, or the exception; `seconds` how long it took."""

    def __init__(self, line):
        self.line, self.outcome, self.seconds = line, None, None
        self._began = time.monotonic()
        self._ended = threading.Event()
        line.sock.settimeout(None)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            self.outcome = self.line.response()
        except (OSError, EOFError) as e:
            self.outcome = e
        self.seconds = time.monotonic() - self._began
        self._ended.set()

    @property
    def waiting(self):
        return not self._ended.is_set()

    def wait(self, timeout=5.0):
        """The outcome, once there is one."""
        assert self._ended.wait(timeout), "still held after %.1f s more" % timeout
        return self.outcome

    def wait_cut(self, timeout=5.0):
        """The seconds from now until the connection ended without an answer; an answer is an AssertionError."""
        began = time.monotonic()
        outcome = self.wait(timeout)
        assert outcome is None or isinstance(outcome, Exception), "answered: %s" % outcome.start
        return max(0.0, self._began + self.seconds - began)


class Device:
    """A phone with a certificate (or none) that talks to the proxy at `address` ("127.0.0.1:PORT").

    `ca`: PEM of what it trusts. `versions`: pair of ssl.TLSVersion. `ciphers`: OpenSSL's list for TLS 1.2, security
    level included. `alpn`: protocols to offer. `before`: bytes before the handshake, for the PROXY protocol. It keeps
    one connection, made at the first request; connect() makes others.
    """

    def __init__(self, address, identity=None, ca=None, user="alice", server_name="mail.example.com", netns=None,
                 device_id="ApplTEST0001", device_type="iPhone", versions=None, before=b"", timeout=10.0, plain=False,
                 ciphers=None, alpn=()):
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)
        self.identity, self.user, self.server_name = identity, user, server_name
        self.netns, self.before, self.timeout = netns or Netns(), before, timeout
        self.device_id, self.device_type = device_id, device_type
        self.context = None if plain else self._context(identity, ca, versions, ciphers, alpn)
        self.line = None
        self._lines = []

    @staticmethod
    def _context(identity, ca, versions, ciphers, alpn):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ciphers:
            context.set_ciphers(ciphers)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if ca:
            context.load_verify_locations(cadata=ca.decode() if isinstance(ca, bytes) else ca)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if versions:
            context.minimum_version, context.maximum_version = versions
        if identity:
            with tempfile.TemporaryDirectory() as place:
                context.load_cert_chain(*identity.write(place, "device"))
        return context

    def connect(self, session=None, server_name=None):
        """A new Line; with a session of an earlier one, resumption is tried."""
        sock = self.netns.connect((self.host, self.port), self.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.before:
                sock.sendall(self.before)
            line = Line(sock, server_name or self.server_name, self.context, session, self.timeout)
        except BaseException:
            sock.close()
            raise
        self._lines.append(line)
        return line

    def refusal(self, session=None, server_name=None):
        """The TLS alert that the handshake ends with, such as "certificate required"; AssertionError if none.

        Nothing is sent: with TLS 1.3 the alert comes after the client's own handshake is over, and to write into
        a connection that is being closed would lose it."""
        try:
            with self.connect(session, server_name) as line:
                closed = line.closed(timeout=2)
        except ssl.SSLError as e:
            alert = (e.reason or str(e)).lower().replace("_", " ")
            return alert.partition("alert ")[2] or alert
        raise AssertionError("closed without an alert" if closed else "not refused")

    # requests on the kept connection

    def target(self, command, user=None, device_id=None, extra=""):
        """In the order of iOS."""
        return "%s?User=%s&DeviceId=%s&DeviceType=%s&Cmd=%s%s" % (
            EAS, user or self.user, device_id or self.device_id, self.device_type, command, extra)

    def headers(self):
        return [("Content-Type", "application/vnd.ms-sync.wbxml"), ("Accept", "*/*"),
                ("User-Agent", "Apple-iPhone13C4/2307.71"), ("MS-ASProtocolVersion", "14.1"),
                ("X-MS-PolicyKey", "0")]

    def _line(self):
        if self.line is None:
            self.line = self.connect()
        return self.line

    def _ask(self, method, target, headers, body=b""):
        line = self._line()
        try:
            response = line.request(method, target, headers, body, host=self.server_name)
        except (OSError, EOFError):
            self.hang_up()
            raise
        if response is None or not response.keeps_open:
            self.hang_up()
        return response

    def options(self, headers=()):
        return self._ask("OPTIONS", EAS, [("User-Agent", "Apple-iPhone13C4/2307.71"), *headers])

    def post(self, command, body=b"", headers=(), **kw):
        return self._ask("POST", self.target(command, **kw), [*self.headers(), *headers], body)

    def folder_sync(self, key="0", headers=(), **kw):
        return self.post("FolderSync", wbxml.folder_sync(key), headers, **kw)

    def sync(self, key="0", collection="1", headers=(), **kw):
        return self.post("Sync", wbxml.sync(key, collection), headers, **kw)

    def ping(self, heartbeat=3540, folders=("1",), headers=(), line=None, **kw):
        """A held Ping on a connection of its own (or on `line`): returns at once with a Held."""
        line = line or self.connect()
        body = wbxml.ping(heartbeat, folders)
        lines = ["POST %s HTTP/1.1" % self.target("Ping", **kw), "Host: " + self.server_name,
                 *("%s: %s" % h for h in [*self.headers(), *headers]), "Content-Length: %d" % len(body), "", ""]
        line.send("\r\n".join(lines).encode("latin-1") + body)
        return Held(line)

    def raw(self, data, method="POST"):
        """These bytes on a fresh connection, and the response (None: closed)."""
        with self.connect() as line:
            line.send(data)
            return line.response(method)

    def hang_up(self):
        if self.line is not None:
            self.line.close()
            self.line = None

    def close(self):
        for line in self._lines:
            line.close()
        self.line = None


def curl(address, *args, identity=None, ca=None, server_name="mail.example.com", path=EAS, netns=None, timeout=20):
    """curl against the proxy under its public name; returns (exit status, stdout, stderr), the first response's
    head included with -i in `args`."""
    port = address.rpartition(":")[2]
    with tempfile.TemporaryDirectory() as place:
        argv = ["curl", "-sS", "--connect-to", "%s:443:%s" % (server_name, address), "--max-time", str(timeout)]
        if identity:
            cert, key = identity.write(place, "device")
            argv += ["--cert", cert, "--key", key]
        if ca:
            with open(os.path.join(place, "ca.pem"), "wb") as f:
                f.write(ca)
            argv += ["--cacert", f.name]
        assert port.isdigit()
        done = subprocess.run((netns or Netns()).command([*argv, *args, "https://%s%s" % (server_name, path)]),
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout + 10)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def s_client(address, *args, identity=None, server_name="mail.example.com", send=b"", netns=None, timeout=20):
    """openssl s_client; what it printed, both streams together. `-sess_out FILE`, `-sess_in FILE` keep sessions
    between different certificates, which Python's ssl does not let happen. `server_name` None: no SNI is sent."""
    with tempfile.TemporaryDirectory() as place:
        name = ["-servername", server_name] if server_name else ["-noservername"]
        argv = ["openssl", "s_client", "-connect", address, *name, "-ign_eof"]
        if identity:
            cert, key = identity.write(place, "device")
            argv += ["-cert", cert, "-cert_chain", cert, "-key", key]
        done = subprocess.run((netns or Netns()).command([*argv, *args]), input=send, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout)
    return done.stdout.decode("utf-8", "replace")
