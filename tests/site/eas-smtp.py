#!/usr/bin/python3
"""eas-smtp.py PORT DIR: the smallest SMTP server that lets SOGo send mail to its own users.

Listens on 127.0.0.1, hands each message to dovecot-lda with DIR/dovecot.conf, relays nothing to anywhere.
"""
import os
import socketserver
import subprocess
import sys

PORT, DIR = int(sys.argv[1]), sys.argv[2]
LIMIT = 100 << 20


class Session(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.sender, self.recipients = "", []
        self.say("220 test mail")
        while line := self.rfile.readline(4096):
            verb, _, rest = line.decode("latin-1").strip().partition(" ")
            verb = verb.upper()
            if verb == "QUIT":
                return self.say("221 bye")
            self.say(self.answer(verb, rest))

    def answer(self, verb, rest):
        if verb in ("HELO", "EHLO", "NOOP"):
            return "250 test mail"
        if verb == "RSET":
            self.sender, self.recipients = "", []
            return "250 forgotten"
        if verb == "MAIL":
            self.sender, self.recipients = address(rest), []
            return "250 ok"
        if verb == "RCPT":
            self.recipients.append(address(rest))
            return "250 ok"
        if verb == "DATA" and self.recipients:
            self.say("354 go on")
            return self.deliver(self.message())
        return "502 no"

    def message(self):
        lines, size = [], 0
        while (line := self.rfile.readline(LIMIT)) not in (b".\r\n", b".\n", b""):
            size += len(line)
            if size > LIMIT:
                sys.exit("message too large")
            lines.append(line[1:] if line.startswith(b"..") else line)
        return b"".join(lines)

    def deliver(self, message):
        for recipient in self.recipients:
            done = subprocess.run(["/usr/lib/dovecot/dovecot-lda", "-c", DIR + "/dovecot.conf", "-d",
                                   recipient.split("@")[0], "-f", self.sender or "nobody@example.com"], input=message)
            if done.returncode:
                return "451 delivery failed"
        return "250 delivered"


def address(rest):
    return rest.partition("<")[2].partition(">")[0]


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with open(DIR + "/run/smtp.pid", "w") as f:
    f.write(str(os.getpid()))
Server(("127.0.0.1", PORT), Session).serve_forever()
