"""A plain reader of HTTP/1.1 messages that keeps every byte, for the phone's and the mail server's side.

It does not repair: what does not read as one message is a ProtocolError, or is listed in `problems`.
"""
import re

HEAD_LIMIT = 1 << 20


class ProtocolError(Exception):
    pass


class Message:
    """A start line with headers, and the body once it was read. `raw` is all of it as it came."""

    def __init__(self, head):
        self.raw = bytearray(head)
        self.body = b""
        self.trailers = []
        self.problems = []
        lines = head.split(b"\n")
        self.start = lines[0].rstrip(b"\r").decode("latin-1")
        self.headers = []
        for line in lines[1:-2]:
            self._header(line)
        if any(not line.endswith(b"\r") for line in lines[:-1]):
            self.problems.append("bare LF")

    def _header(self, line):
        field, colon, value = line.rstrip(b"\r").partition(b":")
        if not colon or not re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", field):
            self.problems.append("bad header line %r" % line)
        if re.search(rb"[\0\r]", line.rstrip(b"\r")):
            self.problems.append("control byte in %r" % line)
        self.headers.append((field.decode("latin-1"), value.strip(b" \t").decode("latin-1")))

    def all(self, field):
        return [v for n, v in self.headers if n.lower() == field.lower()]

    def get(self, field, default=None):
        """The value of a header; more than one is a ProtocolError, for nobody may rely on which counts."""
        values = self.all(field)
        if len(values) > 1:
            raise ProtocolError("%d times %s" % (len(values), field))
        return values[0] if values else default

    @property
    def chunked(self):
        return "chunked" in ",".join(self.all("transfer-encoding")).lower()

    @property
    def keeps_open(self):
        tokens = ",".join(self.all("connection")).lower().replace(" ", "").split(",")
        return "keep-alive" in tokens if "HTTP/1.0" in self.start else "close" not in tokens


class Request(Message):
    @property
    def method(self):
        return self.start.split(" ")[0]

    @property
    def target(self):
        return self.start.split(" ")[1] if self.start.count(" ") else ""

    @property
    def path(self):
        return self.target.partition("?")[0]


class Response(Message):
    @property
    def status(self):
        try:
            return int(self.start.split(" ")[1])
        except (IndexError, ValueError):
            raise ProtocolError("no status in %r" % self.start) from None


class Reader:
    """Messages from `recv`, a function of a size that returns b"" at the end."""

    def __init__(self, recv):
        self._recv = recv
        self.buffered = bytearray()
        self.ended = False

    def fill(self):
        """Reads once more; False at the end."""
        data = b"" if self.ended else self._recv(65536)
        self.ended = not data
        self.buffered += data
        return bool(data)

    def _until(self, end, limit=HEAD_LIMIT):
        searched = 0
        while (at := self.buffered.find(end, max(0, searched - len(end)))) < 0:
            searched = len(self.buffered)
            if searched > limit or not self.fill():
                raise EOFError(bytes(self.buffered[:200]))
        return self._take(at + len(end))

    def _exactly(self, size):
        while len(self.buffered) < size:
            if not self.fill():
                raise EOFError("%d of %d bytes" % (len(self.buffered), size))
        return self._take(size)

    def _take(self, size):
        taken = bytes(self.buffered[:size])
        del self.buffered[:size]
        return taken

    def head(self, kind):
        """The next head as Request or Response; None when the peer closed between two messages."""
        while not self.buffered:
            if not self.fill():
                return None
        return kind(self._until(b"\n\r\n"))

    def body(self, message, until_close=False):
        """Reads the body into the message. EOFError when it ends too early: what came is in `message.body`."""
        message.body = bytearray()          # bytes when it has ended: those cannot grow without a copy of all
        try:
            self._body(message, until_close)
        finally:
            message.body = bytes(message.body)
        return message

    def _body(self, message, until_close):
        if message.chunked:
            self._chunks(message)
        elif message.all("content-length"):
            lengths = message.all("content-length")
            if len(set(lengths)) > 1 or not re.fullmatch(r"[0-9]+", lengths[0]):
                raise ProtocolError("Content-Length %r" % lengths)
            self._counted(message, int(lengths[0]))
        elif until_close:
            while self.buffered or self.fill():
                self._append(message, self._take(len(self.buffered)))

    @staticmethod
    def _append(message, data):
        message.raw += data
        message.body += data

    def _counted(self, message, size):
        parts, got = [], 0
        try:
            while got < size:
                if not self.buffered and not self.fill():
                    raise EOFError("%d of %d bytes of a body" % (got, size))
                parts.append(self._take(min(size - got, len(self.buffered))))
                got += len(parts[-1])
        finally:
            message.body = b"".join(parts)
            message.raw += message.body

    def _chunks(self, message):
        while True:
            line = self._until(b"\n")
            message.raw += line
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}(;[^\r\n]*)?\r\n", line):
                raise ProtocolError("chunk size %r" % line)
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            chunk = self._exactly(size + 2)
            message.raw += chunk
            message.body += chunk[:-2]
            if chunk[-2:] != b"\r\n":
                raise ProtocolError("chunk of %d bytes ends with %r" % (size, chunk[-2:]))
        while (line := self._until(b"\n")) != b"\r\n":
            message.raw += line
            message.trailers.append(line.rstrip(b"\r\n"))
        message.raw += line

    def response(self, method="POST"):
        """A whole response; 1xx ones before it are kept in its `interim`. None when the peer just closed."""
        interim = []
        while (message := self.head(Response)) is not None:
            if message.status // 100 == 1 and message.status != 101:
                interim.append(message)
                continue
            message.interim = interim
            if method != "HEAD" and message.status not in (204, 304):
                self.body(message, until_close=True)
            return message
        return None
