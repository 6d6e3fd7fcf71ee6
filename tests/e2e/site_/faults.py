"""Failing allocations and system calls inside the program's own processes, by tests/tools/faults.c and a page of memory."""
import errno
import mmap
import os
import re
import struct
import subprocess

from .proxy import binary

KINDS = ("alloc", "read", "write", "open", "accept", "watch", "make", "connect", "files", "map", "fork")
SHORT = 0                       # as `error` of read and write: only one byte is moved
_ARMED, _PROCESS, _EXACT, _CALLS, _FAILED, _SIZE = 0, 24, 40, 44, 48, 52
NAMES = {"worker": b"eas-worker", "directory": b"eas-direct", "kerberos": b"eas-kerber", "revocation": b"eas-revoca",
         "master": b"", "all": b""}


class Faults:
    """One for each proxy: start it with env=faults.env. Nothing fails before arm()."""

    def __init__(self, place):
        self.path = os.path.join(str(place), "faults.page")
        library = os.path.join(os.path.dirname(binary()), "tools", "faults.so")
        assert os.access(library, os.R_OK), library + " is not built: make tests-bin"
        with open(self.path, "w+b") as f:
            f.truncate(mmap.PAGESIZE)
            self._page = mmap.mmap(f.fileno(), mmap.PAGESIZE)
        os.chmod(self.path, 0o600)
        sanitizer = _sanitizer()
        self.memory = sanitizer is None         # AddressSanitizer's malloc must be the first: only system calls fail then
        self.env = {"LD_PRELOAD": " ".join(filter(None, [sanitizer, library])), "EASGATE_FAULTS": self.path,
                    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99:handle_segv=0:handle_abort=0"}

    def arm(self, process, kind, nth, span=1, every=0, error=errno.ENOMEM):
        """In processes of this kind ("master", "worker", ..., "all") the calls nth to nth + span - 1 of this kind fail, counted
        from now on; with `every`, each every-th of these."""
        self.disarm()
        kinds = sum(1 << KINDS.index(k) for k in ([kind] if isinstance(kind, str) else kind))
        struct.pack_into("<IIIIi16sIII", self._page, 4, kinds, nth, min(span, 0xffffffff), every, error, NAMES[process],
                         process == "master", 0, 0)
        struct.pack_into("<I", self._page, _ARMED, 1)

    def disarm(self):
        struct.pack_into("<I", self._page, _ARMED, 0)

    def count(self, process, kind):
        """Counts calls from now on and lets none fail."""
        self.arm(process, kind, 0xffffffff)

    @property
    def calls(self):
        return struct.unpack_from("<I", self._page, _CALLS)[0]

    @property
    def failed(self):
        return struct.unpack_from("<I", self._page, _FAILED)[0]

    def close(self):
        self.disarm()
        self._page.close()


def _sanitizer():
    """The runtime library of a program that was built with AddressSanitizer, None for others."""
    shown = subprocess.run(["ldd", binary()], capture_output=True, text=True).stdout
    found = re.search(r"libasan\S* => (\S+)", shown)
    return found and found[1]


def spread(total, count, seed=0):
    """`count` numbers of 1..total: the first ones closely, the others evenly, another choice for another seed."""
    if total <= count:
        return list(range(1, total + 1))
    close = count // 4
    step = (total - close) / (count - close)
    offset = (seed * 0.618) % 1
    return sorted({*range(1, close + 1), *(min(total, int(close + 1 + (k + offset) * step)) for k in range(count - close))})


# Functions of Debian's libraries that end the process where memory is out. Ours must not; theirs cost a process, which is replaced.
LIBRARIES = re.compile(r"/lib(?:krb5|gssapi_krb5|k5crypto|krb5support|com_err|ldap-2\.\d|lber-2\.\d|gnutls|p11-kit|sasl2|curl-gnutls|curl|xml2)\.so")


def crashes(proxy, since=0):
    """What the master says of processes that were ended by a signal, or by a sanitizer; not of those that a library ended."""
    said = [line["message"] for line in proxy.events("process_died", since)
            if re.search(r"by signal|status 99|status 12[56]", line["message"])]
    return said[:max(0, len(said) - in_libraries(proxy, since))]


def in_libraries(proxy, since=0):
    """How many processes crashed in code of those libraries: faults.so says where each was."""
    return sum(LIBRARIES.search(place) is not None for place in crash_places(proxy, since))


def crash_places(proxy, since=0):
    """The innermost frame of each crash that is not the C library's."""
    places, lines = [], proxy.log.find(lambda line: isinstance(line, str), since)
    for at, line in enumerate(lines):
        if line.startswith("-- SIG"):
            frames = [x for x in lines[at + 1:at + 40] if x.startswith("/")]
            places.append(next((x for x in frames if "faults.so" not in x and "/libc.so" not in x), ""))
    return places
