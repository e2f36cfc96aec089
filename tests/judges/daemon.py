"""A daemon in the sandbox, for judges that ask it."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

NOBODY = 65534


class Daemon:
    """Started when somebody comes, and again whenever it has ended, as systemd does."""

    def __init__(self, usaged, scratch):
        self.scratch = pathlib.Path(scratch)
        self.socket = self.scratch / "run/sandbox/usaged.sock"
        self.program = self.scratch / "usaged"
        shutil.copy(usaged, self.program)
        # What is asked of it may be made up, as the path of a backup, so it may write nowhere else.
        self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        if self.user:
            os.chown(scratch, NOBODY, NOBODY)
        self.process = None
        self.starting = threading.Lock()

    def start(self):
        (self.scratch / "usaged.toml").touch()
        options = ["--config", "usaged.toml", "--state-dir", self.scratch / "state", "--runtime-dir", self.scratch / "run"]
        with open(self.scratch / "said", "a") as said:
            self.process = subprocess.Popen(
                [self.program, "run", "--sandbox", *options], cwd=self.scratch, stdout=said, stderr=said, **self.user
            )

    def connect(self):
        """A connection to a daemon that is there."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.socket))
                return connection
            except OSError:
                connection.close()
            with self.starting:
                if self.process is None or self.process.poll() is not None:
                    self.start()
            time.sleep(0.05)
        raise SystemExit(f"usaged does not answer; it said last:\n{(self.scratch / 'said').read_text()[-3000:]}")

    def get(self, path):
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = self.connect()
        connection.request("GET", path)
        answer = json.load(connection.getresponse())
        connection.close()
        return answer

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=30)
