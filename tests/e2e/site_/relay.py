"""A small TCP relay between the proxy and one of its servers, which can hang, delay, slice, refuse or cut.

`relay.mode = ...` counts for bytes that come from then on, on open connections too.
"""
import os
import select
import socket
import threading
import time

from .netns import Netns

PASS, HANG, SLICE, DELAY, GARBAGE, HALF = "pass", "hang", "slice", "delay", "garbage", "half"


class _Pair:
    def __init__(self, near, far):
        self.near, self.far, self.cut = near, far, False


class Relay:
    """Listens in `netns` on `address` and passes everything to `target` and back.

    modes: "pass"; "hang": accepts, and passes nothing; "slice": one byte at a time; "delay": each piece `seconds`
    late; "garbage": random bytes in place of what was sent, both ways; "half": what the target says is lost. refuse() and listen() close and open the listener; cut() ends the connections there are.
    """

    def __init__(self, target, address=("127.0.0.1", 0), netns=None, mode=PASS, seconds=0.2):
        self.target, self.seconds, self.accepted = target, seconds, 0
        self._mode = mode
        self._netns = netns or Netns()
        self._held = self._netns.hold(address)
        self._bound = self._held.getsockname()
        self._pairs, self._threads = [], []
        self._changed = threading.Condition()
        self._listener = None
        self.listen()

    @property
    def address(self):
        return "%s:%d" % self._bound

    @property
    def port(self):
        return self._bound[1]

    @property
    def mode(self):
        return self._mode

    @mode.setter
    def mode(self, mode):
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def listen(self):
        if self._listener is None:
            self._listener = self._netns.listen(self._bound)
            self._spawn(self._accept, self._listener)

    def refuse(self):
        """New connections are refused from now on; those there are go on."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def cut(self):
        """Ends every connection, in the middle of whatever it carries."""
        with self._changed:
            for pair in self._pairs:
                pair.cut = True
                for s in (pair.near, pair.far):
                    try:
                        s.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
            self._changed.notify_all()

    def wait_accepted(self, count=1, timeout=5.0):
        with self._changed:
            if not self._changed.wait_for(lambda: self.accepted >= count, timeout):
                raise AssertionError("the relay had %d connections, not %d" % (self.accepted, count))

    def close(self):
        self.refuse()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        self._held.close()

    def _spawn(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                pair = _Pair(near, self._netns.connect(self.target))
            except OSError:
                near.close()
                pair = None
            with self._changed:
                self.accepted += 1
                if pair:
                    self._pairs.append(pair)
                self._changed.notify_all()
            if pair:
                self._spawn(self._pump, pair)

    def _pump(self, pair):
        try:
            while True:
                ready, _, _ = select.select([pair.near, pair.far], [], [])
                with self._changed:
                    self._changed.wait_for(lambda: self._mode != HANG or pair.cut)
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    self._pass_on(data, pair.far if source is pair.near else pair.near, source is pair.far)
        except (OSError, ValueError):
            pass
        finally:
            with self._changed:
                self._pairs.remove(pair)
            pair.near.close()
            pair.far.close()

    def _pass_on(self, data, to, back):
        if self._mode == HALF and back:
            return
        if self._mode == DELAY:
            time.sleep(self.seconds)
        if self._mode == GARBAGE:
            data = os.urandom(len(data))
        if self._mode == SLICE:
            to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(len(data)):
                to.sendall(data[at:at + 1])
        else:
            to.sendall(data)
