"""A relay between workers and a hub, as somebody on the network between them: it hears all that is said, and may change or break it."""

import contextlib
import socket
import threading


class Relay:
    """Hand on what both sides say.

    ``heard`` keeps what workers said, a bytes a connection. ``change`` is called with each piece that a worker sends and returns what
    the hub gets. The first ``broken`` connections are closed instead.
    """

    def __init__(self, hub, change=bytes, broken=0):
        self.address, self.credentials, self.heard = None, hub.credentials, []
        self._hub, self._change, self._broken = hub.address, change, broken
        self._threads, self._sockets = [], []

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(200)
        for each in self._sockets:
            each.close()

    def _start(self, work, *args):
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                worker, _ = self._listener.accept()
                if self._broken:
                    self._broken -= 1
                    worker.close()
                    continue
                hub = socket.create_connection(self._hub)
                self._sockets += [worker, hub]
                self.heard.append(bytearray())
                self._start(self._pass_on, worker, hub, self.heard[-1])
                self._start(self._pass_on, hub, worker, None)

    def _pass_on(self, source, target, heard):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if heard is not None:
                    heard += data
                    data = self._change(data)
                target.sendall(data)
        for each in source, target:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
