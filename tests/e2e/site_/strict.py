"""What a mail server received, read as strictly as RFC 9112 allows: whatever a second reader could frame
differently is Ambiguous, and so is whatever the proxy must never send on (Expect, Upgrade, trailers)."""
import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"([A-Z]+) (/[!$-~]*) HTTP/1\.1")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([^\0-\x08\x0a-\x1f\x7f]*)")
NEVER = {b"expect", b"upgrade", b"te", b"trailer", b"connection", b"keep-alive", b"proxy-connection"}


class Ambiguous(AssertionError):
    pass


class Incomplete(Exception):
    """The bytes end inside a request; `head` is whether its head was there."""

    def __init__(self, head):
        self.head = head


class StrictRequest:
    def __init__(self, method, target, fields):
        self.method, self.target, self.fields, self.body = method, target, fields, b""

    def all(self, name):
        return [v for n, v in self.fields if n == name]


def read_strictly(data, cut_allowed=False):
    """The requests in `data`, each exactly framed. Ambiguous if they are not, or if bytes are left over; a last
    request that is cut off passes only where the connection was cut (`cut_allowed`)."""
    found, at = [], 0
    while at < len(data):
        try:
            request, at = _one(data, at)
        except Incomplete:
            if not cut_allowed:
                raise Ambiguous("ends inside a request: %r" % bytes(data[at:at + 300])) from None
            break
        found.append(request)
    return found


def _one(data, at):
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        raise Incomplete(False)
    head = bytes(data[at:end])
    lines = head.split(b"\r\n")
    if b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""):
        raise Ambiguous("bare CR or LF: %r" % head)
    first = REQUEST_LINE.fullmatch(lines[0])
    if not first:
        raise Ambiguous("request line %r" % lines[0])
    fields = []
    for line in lines[1:]:
        match = FIELD.fullmatch(line)
        if not match:
            raise Ambiguous("field line %r" % line)
        fields.append((match[1].lower(), match[2].strip(b" \t")))
    request = StrictRequest(first[1], first[2], fields)
    _check_fields(request)
    return request, _body(request, data, end + 4)


def _check_fields(request):
    names = [n for n, _ in request.fields]
    if names.count(b"host") != 1 or not request.all(b"host")[0]:
        raise Ambiguous("%d Host" % names.count(b"host"))
    if unwanted := NEVER.intersection(names):
        raise Ambiguous("forwarded: %r" % unwanted)
    if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
        raise Ambiguous("framed twice: %r" % request.fields)


def _body(request, data, at):
    if coding := request.all(b"transfer-encoding"):
        if coding != [b"chunked"]:
            raise Ambiguous("Transfer-Encoding %r" % coding)
        return _chunks(request, data, at)
    if length := request.all(b"content-length"):
        if not re.fullmatch(rb"0|[1-9][0-9]*", length[0]):
            raise Ambiguous("Content-Length %r" % length)
        end = at + int(length[0])
        if end > len(data):
            raise Incomplete(True)
        request.body = bytes(data[at:end])
        return end
    return at


def _chunks(request, data, at):
    parts = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise Incomplete(True)
        if not re.fullmatch(rb"[0-9a-fA-F]+", data[at:end]):
            raise Ambiguous("chunk size %r" % bytes(data[at:end]))
        size = int(data[at:end], 16)
        at = end + 2
        if len(data) < at + size + 2:
            raise Incomplete(True)
        if data[at + size:at + size + 2] != b"\r\n":
            raise Ambiguous("chunk of %d bytes ends with %r" % (size, bytes(data[at + size:at + size + 2])))
        if size == 0:
            request.body = b"".join(parts)
            return at + 2
        parts.append(bytes(data[at:at + size]))
        at += size + 2


def read_backend(backend):
    """All requests that a RecordingBackend received, every connection read strictly; one that was cut off may be
    the last of its connection. Health checks are left out."""
    found = []
    with backend.changed:
        connections = [(bytes(c.received), c.closed) for c in backend.connections]
    for received, closed in connections:
        found += [r for r in read_strictly(received, cut_allowed=closed) if b"healthcheck" not in r.target]
    return found
