"""Network namespaces: run a command, or open a socket, in another one than the test's own."""
import contextlib
import ctypes
import os
import socket

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Netns:
    """A namespace by name; without a name, the one the tests run in."""

    def __init__(self, name=None):
        self.name = name

    def command(self, argv):
        """The command line that runs `argv` in there, with the namespace's own /etc/hosts."""
        return ["ip", "netns", "exec", self.name, *argv] if self.name else list(argv)

    @contextlib.contextmanager
    def inside(self):
        """Sockets that this thread makes within the block belong to the namespace, for good."""
        if not self.name:
            yield
            return
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open("/run/netns/" + self.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
            try:
                yield
            finally:
                _setns(here)
        finally:
            os.close(there)
            os.close(here)

    def connect(self, address, timeout=10.0):
        """A connected TCP socket; `address` is a pair."""
        with self.inside():
            return socket.create_connection(address, timeout)

    def hold(self, address=("127.0.0.1", 0)):
        """A socket that listens to nothing: as long as it is there the kernel gives its port to nobody else, while a server of ours may stop and
        listen on it again (which needs SO_REUSEADDR on both). Connections made meanwhile are refused."""
        with self.inside():
            s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(address)
        return s

    def listen(self, address=("127.0.0.1", 0), backlog=512):
        s = self.hold(address)
        s.listen(backlog)
        return s
