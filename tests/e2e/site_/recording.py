"""A mail server of the tests' own: keeps every byte it gets, connection by connection, and answers as it is told.

The behaviours are in answers.py. One thread a connection; close() ends them all.
"""
import socket
import ssl
import threading
import time

from . import answers
from .http1 import ProtocolError, Reader, Request
from .netns import Netns

HEALTH = "/Microsoft-Server-ActiveSync/healthcheck.htm"


class Connection:
    """One connection from the proxy: `received` is what came in, decrypted, in order."""

    def __init__(self, backend, sock, number):
        self.backend, self.sock, self.number = backend, sock, number
        self.received = bytearray()
        self.requests = []
        self.closed = False                 # by either side
        self.error = None
        self.server_name = None             # SNI
        self.reader = Reader(self._recv)

    def _recv(self, size):
        try:
            data = self.sock.recv(size)
        except (ssl.SSLEOFError, ConnectionResetError):
            data = b""
        with self.backend.changed:
            self.received += data
            self.backend.changed.notify_all()
        return data

    @property
    def rest(self):
        """Bytes that were received after the last whole request."""
        return bytes(self.reader.buffered)


class Exchange:
    """What a behaviour gets: the request's head, and the means to answer it."""

    def __init__(self, connection, request):
        self.connection, self.request = connection, request
        self.backend = connection.backend
        self.open = True
        self.body_read = False

    def read_body(self):
        if not self.body_read:
            self.body_read = True
            self.connection.reader.body(self.request)
            with self.backend.changed:
                self.request.complete = True
                self.backend.changed.notify_all()
        return self.request.body

    def send(self, data):
        self.connection.sock.sendall(data)

    def respond(self, status=200, body=b"", headers=(), reason="X"):
        self.send(answers.head(status, [*headers, ("Content-Length", str(len(body)))], reason) + body)

    def close(self):
        """An orderly end of the connection."""
        self.open = False

    def reset(self):
        """The connection is torn down: the peer gets a TCP reset."""
        self.open = False
        sock = self.connection.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def pause(self, seconds):
        """Waits; False when the backend is closing meanwhile."""
        return not self.backend.closing.wait(seconds)


class RecordingBackend:
    """Listens on 127.0.0.1, port by the kernel. `tls`: an Identity makes it a TLS server.

    answer with:  backend.default = answers.ok(b"..")         what is done when nothing else fits
                  backend.when("Ping", answers.hold())         for a command, path, or function of the request
                  backend.queue(answers.cut(10), ...)          for the next requests, one each, before all others
    look at:      backend.requests, backend.connections        without health checks, which are in backend.health
    """

    def __init__(self, tls=None, netns=None, address=("127.0.0.1", 0), name="backend", place=None, client_ca=None):
        self.name = name
        self.requests, self.connections, self.health = [], [], []
        self.health_status = 200
        self.default = answers.eas()
        self.changed = threading.Condition()
        self.closing = threading.Event()
        self._queue, self._rules, self._threads = [], [], []
        self._tls = self._context(tls, place, client_ca) if tls else None
        self._netns = netns or Netns()
        self._held = self._netns.hold(address)
        self.port = self._held.getsockname()[1]
        self._listener = None
        self.start()

    @staticmethod
    def _context(identity, place, client_ca):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*identity.write(place, "backend-%x" % identity.serial))
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=client_ca)
        context.sni_callback = RecordingBackend._server_name
        return context

    @staticmethod
    def _server_name(tls_socket, server_name, _context):
        tls_socket.context_name = server_name

    # what a test says

    def queue(self, *behaviours):
        with self.changed:
            self._queue += behaviours

    def when(self, fits, behaviour):
        """`fits`: a path beginning with "/", an ActiveSync command, or a function of the request."""
        if isinstance(fits, str):
            word = fits
            def fits(request):
                return request.path == word if word.startswith("/") else command(request) == word
        with self.changed:
            self._rules.insert(0, (fits, behaviour))
        return behaviour

    # what a test asks

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    @property
    def url(self):
        return "%s://%s" % ("https" if self._tls else "http", self.address)

    def wait(self, condition, timeout=5.0, what=None):
        """Sleeps until condition() holds; it is asked again whenever something arrives or a connection ends."""
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise AssertionError("%s: not within %.1f s: %s; seen: %s" % (
                    self.name, timeout, what or condition, [r.start for r in self.requests]))

    def wait_requests(self, count=1, timeout=5.0):
        """The first `count` requests, bodies included, once they came."""
        self.wait(lambda: sum(r.complete for r in self.requests) >= count, timeout, "%d requests" % count)
        return self.requests[:count]

    def wait_idle(self, timeout=5.0):
        """Until every connection is closed."""
        self.wait(lambda: all(c.closed for c in self.connections), timeout, "all connections closed")

    def received(self):
        """All bytes of all connections."""
        with self.changed:
            return b"".join(bytes(c.received) for c in self.connections)

    # life

    def start(self):
        """Listens (again, on the same port after stop())."""
        self.closing.clear()
        self._listener = self._netns.listen(self._held.getsockname())
        thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self):
        """As if the mail server had been stopped: nothing listens, every connection is cut."""
        self.closing.set()
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self.changed:
            open_ones = [c for c in self.connections if not c.closed]
        for connection in open_ones:
            _cut(connection.sock)
        for thread in self._threads:
            thread.join(5)
        if any(thread.is_alive() for thread in self._threads):
            raise AssertionError("%s: a thread does not end" % self.name)
        self._threads.clear()

    def close(self):
        self.stop()
        self._held.close()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                if self.closing.is_set():
                    sock.close()
                    return
                connection = Connection(self, sock, len(self.connections))
                self.connections.append(connection)
                self.changed.notify_all()
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection):
        try:
            if self._tls:
                connection.sock = self._tls.wrap_socket(connection.sock, server_side=True)
                connection.server_name = getattr(connection.sock, "context_name", None)
            while self._one(connection):
                pass
        except (OSError, EOFError, ProtocolError, ValueError) as e:
            connection.error = e
        finally:
            try:
                connection.sock.close()
            except OSError:
                pass
            with self.changed:
                connection.closed = True
                self.changed.notify_all()

    def _one(self, connection):
        request = connection.reader.head(Request)
        if request is None:
            return False
        request.connection, request.at, request.complete = connection, time.monotonic(), False
        exchange = Exchange(connection, request)
        if request.path == HEALTH:
            self.health.append(request)
            exchange.respond(self.health_status, b"")
            return True
        behaviour = self._note(connection, request)
        behaviour(exchange)
        if exchange.open:
            exchange.read_body()
        return exchange.open and request.keeps_open

    def _note(self, connection, request):
        with self.changed:
            connection.requests.append(request)
            self.requests.append(request)
            if self._queue:
                chosen = self._queue.pop(0)
            else:
                chosen = next((b for fits, b in self._rules if fits(request)), self.default)
            self.changed.notify_all()
        return chosen


def command(request):
    """The Cmd of a plain ActiveSync query; OPTIONS for that method."""
    if request.method == "OPTIONS":
        return "OPTIONS"
    for part in request.target.partition("?")[2].split("&"):
        key, _, value = part.partition("=")
        if key.lower() == "cmd":
            return value
    return None


def _cut(sock):
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)      # below TLS: no close_notify, as when a server dies
    except OSError:
        pass
