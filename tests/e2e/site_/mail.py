"""The real mail servers of the site: httpd that takes only Kerberos, and SOGo. The scripted one is recording.py."""
import json
import os
import re
import subprocess

from .netns import Netns
from .process import follow

SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "site")


class KerberosMail:
    """httpd with mod_auth_gssapi in the AD bed's namespace; answers who it was asked by (REMOTE_USER=...)."""

    spn = "HTTP/mail.corp.example"
    host = "mail.corp.example"

    def __init__(self, ad):
        self.ad, self.netns, self.ca = ad, ad.netns, ad.ca
        self.url, self.tls_url = "http://mail.corp.example", "https://mail.corp.example"
        self._wake = os.path.join(ad.place, "mail", "wake")
        self.log, self._close = follow(os.path.join(ad.place, "log", "httpd-access.log"))

    def wait_access(self, user=None, status=None, request=None, timeout=5.0, since=0):
        """The first line of the access log that fits, as a dict: user ("-" for none), request, status, bytes, port."""
        def fits(line):
            entry = _entry(line)
            return (entry is not None and user in (None, entry["user"]) and status in (None, entry["status"])
                    and (request is None or re.search(request, entry["request"]) is not None))
        return _entry(self.log.wait(fits, timeout, since, "access of %s, %s, %s" % (user, status, request)))

    def accesses(self, since=0):
        return [entry for entry in map(_entry, self.log.find(lambda line: True, since)) if entry]

    def mark(self):
        return self.log.mark()

    def wake(self):
        """Ends one held Ping."""
        with open(self._wake, "w") as f:
            f.write("\n")

    def close(self):
        self._close()


def _entry(line):
    try:
        return json.loads(line)
    except ValueError:              # httpd writes \xhh for strange bytes, which is no JSON
        return None


class Sogo:
    """A real ActiveSync server. Users alice/alicepw and bob/bobpw."""

    basic, trusting = "http://127.0.0.1:8080", "http://127.0.0.1:8081"
    basic_tls, trusting_tls = "https://127.0.0.1:8444", "https://127.0.0.1:8445"
    header = "X-EAS-User"               # trusting: names the user, no password

    def __init__(self, place):
        self.place = str(place)
        with open(os.path.join(self.place, "netns")) as f:
            self.netns = Netns(f.read().strip())
        self.ca = os.path.join(self.place, "tls", "ca.crt")
        self.server_name = "eas.example.com"

    def deliver(self, user, subject, text="hello"):
        """Puts a mail into the user's inbox."""
        mail = "From: tester@example.com\nTo: %s@example.com\nSubject: %s\n\n%s\n" % (user, subject, text)
        subprocess.run([os.path.join(SITE, "eas-server"), "deliver", self.place, user], input=mail.encode(),
                       check=True)
