# SPDX-License-Identifier: BSD-3-Clause
"""A service manager's end of what services tell it (sd_notify(3))."""

import os
import socket
import time

import rig


class Listener(rig.Resource):
    """A service manager's end of NOTIFY_SOCKET. NAMESPACE: whose processes are to find it."""

    def __init__(self, namespace):
        self.name = rig.unique("-notify")
        with namespace.entered():  # names without a file belong to a network namespace
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.bind(f"\0{self.name}")
        super().__init__()
        self.heard = []  # (time, {name: value})

    def environment(self, watchdog_s):
        return {**os.environ, "NOTIFY_SOCKET": f"@{self.name}", "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}

    def next(self, seconds):
        """What is told next, or None if that takes longer."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            text = self._socket.recv(65536).decode()
        except TimeoutError:
            return None
        told = dict(line.split("=", 1) for line in text.splitlines())
        self.heard.append((time.monotonic(), told))
        return told

    def until(self, wanted, seconds, what):
        """Listens until WANTED(what is told) is true, and returns that."""
        seconds = max(seconds, rig.PATIENCE)
        end = time.monotonic() + seconds
        while True:
            told = self.next(end - time.monotonic())
            if told is None:
                raise AssertionError(f"waited {seconds} s in vain: {what}; heard {self.heard[-5:]}")
            if wanted(told):
                return told

    def drain(self):
        """Throws away what was told before now."""
        while self.next(0) is not None:
            pass

    def _undo(self):
        self._socket.close()
