"""What a mail server may do with a request, good and bad: behaviours for RecordingBackend.

Each function returns a behaviour, which is called with an Exchange: the head has been read, the body not yet.
"""
import os
import select
import threading

EAS_HEADERS = [("Server", "Recording"), ("MS-Server-ActiveSync", "15.1")]
OPTIONS_HEADERS = [*EAS_HEADERS, ("Allow", "OPTIONS,POST"), ("Public", "OPTIONS,POST"),
                   ("MS-ASProtocolVersions", "2.5,12.0,12.1,14.0,14.1,16.0,16.1"),
                   ("MS-ASProtocolCommands", "Sync,SendMail,FolderSync,Ping,Provision,Settings")]
WBXML = ("Content-Type", "application/vnd.ms-sync.wbxml")


def head(status, headers=(), reason="X", version="HTTP/1.1"):
    lines = ["%s %d %s" % (version, status, reason), *("%s: %s" % h for h in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def eas(body=b"\x03\x01\x6a\x00recorded"):
    """As a mail server would: OPTIONS without a body, everything else 200 with `body`."""
    def answer(x):
        x.read_body()
        if x.request.method == "OPTIONS":
            x.respond(200, b"", OPTIONS_HEADERS, "OK")
        else:
            x.respond(200, body, [*EAS_HEADERS, WBXML], "OK")
    return answer


def ok(body=b"", headers=(), status=200):
    def answer(x):
        x.read_body()
        x.respond(status, body, headers)
    return answer


def long(size, block=b"b" * 65536):
    """A body of `size` bytes, block by block: a server that makes it as it goes, and keeps none of it."""
    def answer(x):
        x.read_body()
        x.send(head(200, [("Content-Length", str(size))]))
        for at in range(0, size, len(block)):
            x.send(block[:size - at])
    return answer


def echo():
    """The request's own body comes back, streamed while it arrives where it has a Content-Length."""
    def answer(x):
        body = x.read_body()
        x.respond(200, body, [("X-Seen-Length", str(len(body)))])
    return answer


def whoami(*fields):
    """Says in the body what these headers of the request were, a line each: who the proxy said it is."""
    def answer(x):
        x.read_body()
        x.respond(200, "".join("%s=%s\n" % (f, ",".join(x.request.all(f))) for f in fields).encode())
    return answer


def raw(data, read_body=True, close=True):
    """Exactly these bytes: garbage, two responses, or anything else."""
    def answer(x):
        if read_body:
            x.read_body()
        x.send(data)
        if close:
            x.close()
    return answer


def chunked(*pieces, extension=b"", trailers=b"", headers=()):
    def answer(x):
        x.read_body()
        x.send(head(200, [*headers, ("Transfer-Encoding", "chunked")]))
        for piece in pieces:
            x.send(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece))
        x.send(b"0\r\n" + trailers + b"\r\n")
    return answer


def http10(body):
    """An HTTP/1.0 mail server: no length, the end of the connection is the end of the body."""
    def answer(x):
        x.read_body()
        x.send(head(200, [("Content-Type", "text/plain")], version="HTTP/1.0") + body)
        x.close()
    return answer


def cut(promised=1000, sent=b"half", in_chunks=False, reset=False):
    """Closes in the middle of a body that was to be `promised` bytes long."""
    def answer(x):
        x.read_body()
        if in_chunks:
            x.send(head(200, [("Transfer-Encoding", "chunked")]) + b"%x\r\n%s" % (promised, sent))
        else:
            x.send(head(200, [("Content-Length", str(promised))]) + sent)
        x.reset() if reset else x.close()
    return answer


def hang_up(read_body=True, reset=False):
    """Closes without a byte."""
    def answer(x):
        if read_body:
            x.read_body()
        x.reset() if reset else x.close()
    return answer


def twice(first=b"first", second=b"SECOND-ANSWER"):
    """A response and, unasked, another one right behind it; the connection stays open."""
    def answer(x):
        x.read_body()
        x.send(b"".join(head(200, [("Content-Length", str(len(b)))]) + b for b in (first, second)))
    return answer


def interim(count, status=103, then=None):
    """Sends `count` 1xx responses, then `then` or forever as long as the peer listens."""
    def answer(x):
        x.read_body()
        for _ in range(count):
            x.send(head(status, [("X-Interim", "yes")]))
        (then or ok())(x)
    return answer


def slow(body, step=1, seconds=0.05, head_too=False):
    """The response in pieces of `step` bytes with a pause between two."""
    def answer(x):
        x.read_body()
        start = head(200, [("Content-Length", str(len(body)))])
        if not head_too:
            x.send(start)
        data = start + body if head_too else body
        for at in range(0, len(data), step):
            x.send(data[at:at + step])
            if not x.pause(seconds):
                return x.close()
    return answer


def never():
    """Reads everything and says nothing, until the peer goes away."""
    def answer(x):
        x.read_body()
        while x.connection.reader.fill():
            pass
        x.close()
    return answer


def deaf():
    """Does not even read the body, nor answers, until the backend is stopped."""
    def answer(x):
        x.backend.closing.wait()
        x.close()
    return answer


def early(status=413, body=b"", close=True, headers=()):
    """Answers before the request's body was read, and closes without reading it."""
    def answer(x):
        x.respond(status, body, [*headers, ("Connection", "close")] if close else headers)
        if close:
            x.close()
    return answer


def continue_first(then=None, informs=1):
    """100 Continue, only then the body is read: what Expect: 100-continue asks for."""
    def answer(x):
        for _ in range(informs):
            x.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        x.read_body()
        (then or eas())(x)
    return answer


def huge_headers(count=1000, size=1000):
    def answer(x):
        x.read_body()
        x.respond(200, b"", [("X-Filler-%d" % i, "f" * size) for i in range(count)])
    return answer


class hold:
    """Holds each request, as a Ping is held, until release(); notices when the proxy goes away first."""

    def __init__(self, body=b"\x03\x01\x6a\x00released"):
        self.body = body
        self.waiting, self.abandoned, self.released = [], [], []
        self._open = threading.Event()
        self._wakes = []
        self._backend = None

    def __call__(self, x):
        x.read_body()
        r, w = os.pipe()
        try:
            with x.backend.changed:
                self._backend = x.backend
                self._wakes.append(w)
                self.waiting.append(x.request)
                x.backend.changed.notify_all()
            self._settle(x, r)
        finally:
            with x.backend.changed:
                self._wakes.remove(w)
            os.close(r)
            os.close(w)

    def _settle(self, x, wake):
        left = False
        while not self._open.is_set() and not left:
            ready, _, _ = select.select([x.connection.sock, wake], [], [])
            left = x.connection.sock in ready and not x.connection.reader.fill()
        with x.backend.changed:
            self.waiting.remove(x.request)
            (self.abandoned if left else self.released).append(x.request)
            x.backend.changed.notify_all()
        if left:
            x.close()
        else:
            x.respond(200, self.body, [*EAS_HEADERS, WBXML], "OK")

    def release(self):
        """Answers all that wait, and all that come from now on."""
        self._open.set()
        if self._backend:
            with self._backend.changed:
                for wake in self._wakes:
                    os.write(wake, b"x")

    def wait_waiting(self, backend, count=1, timeout=5.0):
        backend.wait(lambda: len(self.waiting) >= count, timeout, "%d held requests" % count)

    def wait_abandoned(self, backend, count=1, timeout=5.0):
        backend.wait(lambda: len(self.abandoned) >= count, timeout, "%d abandoned requests" % count)
