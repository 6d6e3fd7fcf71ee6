"""A server that easenroll asks by webhook: HTTPS, scripted, keeps every question."""
import http.server
import json
import ssl
import threading
import time


class Webhook:
    """answer(question) gives (status, content type, body as bytes) or (..., fields); the questions are in `questions`, with their token."""

    def __init__(self, certificate, key, address="127.0.0.1"):
        self.answer = lambda question: allow("alice")
        self.questions = []
        webhook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with webhook.changed:
                    webhook.questions.append((question, dict(self.headers)))
                    webhook.changed.notify_all()
                status, kind, body, *fields = webhook.answer(question)
                self.send_response(status)
                for name, value in [("Content-Type", kind), ("Content-Length", str(len(body)))] + list(fields):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.changed = threading.Condition()
        self.released = threading.Event()
        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def port(self):
        return self.server.server_address[1]

    def wait_for(self, event, seconds=10):
        """The first question with this `event`."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for question, fields in self.questions:
                    if question["event"] == event:
                        return question, fields
                left = end - time.monotonic()
                assert left > 0, "no %s came: %s" % (event, self.questions)
                self.changed.wait(left)

    def hold(self, question):
        """An answer that does not come before close()."""
        self.released.wait(60)
        return allow("alice")

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()


def reply(value, status=200, kind="application/json", *fields):
    return (status, kind, value if isinstance(value, bytes) else json.dumps(value).encode(), *fields)


def allow(user, **more):
    return reply(dict({"allow": True, "user": user}, **more))
