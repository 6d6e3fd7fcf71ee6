"""The wires between a running proxy's processes, taken from a worker as an intruder in it would have them: its own sockets, any bytes."""
import ctypes
import os
import re
import select
import socket
import struct
import subprocess

_libc = ctypes.CDLL(None, use_errno=True)
_PIDFD_GETFD = 438
HEAD = struct.Struct("=QHHI")           # number, verb, kind, length: common/wire.c
CONTROL = struct.Struct("=IIII")        # verb, role, index, reserved: common/control.h
ASK, ANSWER, TELL = 1, 2, 3
BODY_MAX = 65536


def peers(proxy, pid):
    """{descriptor: pid of the process at the other end} of its sequenced-packet sockets."""
    listed = subprocess.run(proxy.netns.command(["ss", "-xpaH"]), capture_output=True, text=True, check=True).stdout
    ends, users = {}, {}
    for line in listed.splitlines():
        if not line.startswith("u_seq"):
            continue
        found = re.search(r"\* (\d+)\s+\* (\d+)", line)
        for user, fd in re.findall(r"pid=(\d+),fd=(\d+)", line):
            users.setdefault(int(found[1]), []).append((int(user), int(fd)))
        ends[int(found[1])] = int(found[2])
    return {fd: next((other for other, _ in users.get(ends[inode], [])), None)
            for inode, of in users.items() for user, fd in of if user == pid}


def take(pid, fd):
    """A descriptor of another process, as a socket of ours."""
    handle = os.pidfd_open(pid)
    try:
        got = _libc.syscall(_PIDFD_GETFD, handle, fd, 0)
        if got < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return socket.socket(fileno=got)
    finally:
        os.close(handle)


class Wire:
    """One wire. `heard` is all that ever came back, bytes of every answer and tell; `passed` how many descriptors came with it."""

    def __init__(self, sock):
        self.sock, self.heard, self.answers, self.open = sock, bytearray(), 0, True
        self.refused = self.passed = 0
        self._number = 1 << 40          # no number of the real worker's questions

    def send(self, verb, body=b"", kind=ASK, number=None, length=None):
        self._number += 1
        head = HEAD.pack(self._number if number is None else number, verb, kind, len(body) if length is None else length)
        self.send_frame(head + body)

    def send_frame(self, frame):
        while self.open:
            try:
                self.sock.send(frame, socket.MSG_DONTWAIT)
                return
            except BlockingIOError:
                self.hear(0.05)
                select.select([], [self.sock], [], 1)
            except OSError:
                self.open = False

    def hear(self, seconds=0.0, until=None):
        """Reads what is there; waits up to `seconds` for more, until so many answers have come in all."""
        while self.open and select.select([self.sock], [], [], seconds)[0]:
            try:
                data, passed, _, _ = socket.recv_fds(self.sock, HEAD.size + BODY_MAX, 8, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError:
                data, passed = b"", []
            self.passed += len(passed)
            for fd in passed:
                os.close(fd)
            if not data:
                self.open = False
                return
            self.heard += data
            if len(data) >= HEAD.size and HEAD.unpack_from(data)[2] == ANSWER:
                self.answers += 1
                self.refused += len(data) == HEAD.size
            if until is not None and self.answers >= until:
                return

    def ask_all(self, questions, batch=256, patience=10.0):
        """Asks [(verb, body)], some at a time, and hears every answer."""
        for at in range(0, len(questions), batch):
            some = questions[at:at + batch]
            wanted = self.answers + len(some)
            for verb, body in some:
                self.send(verb, body)
            self.hear(patience, wanted)
