"""The Active Directory domain behind the Kerberos row: the tests' real one (tests/site/ad-testbed), with the
bench's devices as accounts, and a way to its KDC that counts.

The domain lives in a network namespace of its own. Here only its KDC can be reached, through a port that the
kernel chose; each connection there is one exchange, since easproxy keeps none.
"""
import base64
import contextlib
import ctypes
import os
import select
import socket
import subprocess
import threading

from measure import BenchError

TESTBED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "site", "ad-testbed")
CLONE_NEWNET = 0x40000000
NORMAL_ACCOUNT = 512


class Domain:
    """Up when the constructor returns; ends with everything that it started, by close()."""

    def __init__(self, folder, accounts):
        self.folder = os.path.join(folder, "ad")
        self.log = os.path.join(folder, "ad.log")
        self.exchanges = 0
        self.listener = None
        if os.getuid() != 0:
            raise BenchError("a test domain needs root")
        try:
            self.testbed("up")
            self.env = self.environment()
            self.principal, self.keytab = self.env["AD_PROXY_PRINCIPAL"], self.env["AD_PROXY_KEYTAB"]
            self.spn = self.env["AD_MAIL_SPN"]
            self.add(accounts)
            self.relay()
        except BaseException:
            self.close()
            raise

    def testbed(self, verb, *words, data=None):
        """Output to a file: what is started here holds it open."""
        with open(self.log, "ab") as log:
            done = subprocess.run([TESTBED, verb, self.folder, *words], stdout=log, stderr=log,
                                  **({"input": data} if data else {"stdin": subprocess.DEVNULL}))
        if done.returncode:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                raise BenchError(f"ad-testbed {verb} {' '.join(words)}: {log.read()[-500:]}")

    def environment(self):
        out = subprocess.run([TESTBED, "env", self.folder], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        pairs = (word.partition("=") for line in out.splitlines() for word in line.split()[1:])
        return {name: value.strip("'") for name, _, value in pairs}

    def add(self, accounts):
        password = base64.b64encode('"Passw0rd.Bench"'.encode("utf-16-le")).decode()
        entries = "".join(f"dn: CN={name},OU=People,{self.env['AD_BASE']}\nobjectClass: user\n"
                          f"sAMAccountName: {name}\nuserAccountControl: {NORMAL_ACCOUNT}\n"
                          f"unicodePwd:: {password}\n\n" for name in accounts)
        self.testbed("exec", "ldapadd", "-x", "-H", self.env["AD_LDAPS"], "-D", self.env["AD_ADMIN"],
                     "-w", self.env["AD_ADMINPW"], data=entries.encode())

    def mail_environment(self):
        """What the mail server needs to open tokens."""
        return {"KRB5_CONFIG": self.env["KRB5_CONFIG"],
                "KRB5_KTNAME": os.path.join(self.env["AD_KEYTABS"], "mail.keytab")}

    # the way to the KDC

    def relay(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.kdc = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        """In the domain's namespace, with a listener that belongs to ours: namespaces are a thread's."""
        with open("/run/netns/" + self.env["AD_NETNS"], "rb") as there:
            if ctypes.CDLL(None).setns(there.fileno(), CLONE_NEWNET) != 0:
                self.listener.close()
        while True:
            try:
                asker = self.listener.accept()[0]
            except OSError:
                return
            self.exchanges += 1
            with asker:
                try:
                    with socket.create_connection((self.env["AD_ADDR"], 88), 5) as kdc:
                        pump(asker, kdc)
                except OSError:
                    pass                    # easproxy sees a KDC that closes

    def close(self):
        with contextlib.suppress(AttributeError, OSError):
            self.listener.shutdown(socket.SHUT_RDWR)    # ends accept()
        subprocess.run([TESTBED, "kill", self.folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       stdin=subprocess.DEVNULL, check=False)


def pump(a, b):
    """Both ways until one side closes."""
    while True:
        for source in select.select([a, b], [], [])[0]:
            data = source.recv(65536)
            if not data:
                return
            (b if source is a else a).sendall(data)
