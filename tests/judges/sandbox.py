"""What the judges share: a sandbox in a process of its own, and expectations that are counted."""

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import urllib.request

import stripe

import sent

mismatches = []
checks = 0


def expect(what, found, wanted):
    global checks
    checks += 1
    if found != wanted:
        mismatches.append(f"{what}: found {found!r}, wanted {wanted!r}")


def expect_error(what, kind, call, **fields):
    """The call raises this class of the SDK, with these fields."""
    global checks
    checks += 1
    try:
        found = call()
    except stripe.StripeError as error:
        if type(error) is not kind:
            mismatches.append(f"{what}: raised {type(error).__name__} ({error}), wanted {kind.__name__}")
        for name, wanted in fields.items():
            # The SDK leaves the code out of some of its classes, but never out of the body it hands on.
            found = getattr(error.error, "code", None) if name == "code" else getattr(error, name)
            expect(f"{what}: {name}", found, wanted)
        return error
    mismatches.append(f"{what}: not refused, but answered {found!r}")
    return None


class Server:
    """A sandbox in a process of its own."""

    def __init__(self, usaged, state):
        self.command = [usaged, "--state-dir", state, "sandbox", "--listen"]
        self.process = None
        self.base = None
        self.log = []

    def start(self, address="127.0.0.1:0"):
        self.process = subprocess.Popen([*self.command, address], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if "http://" not in line:
            raise SystemExit(f"{' '.join(self.command)} did not say where it listens, but {line!r}")
        self.base = "http://" + line.split("http://", 1)[1].split()[0]
        stripe.api_base = self.base

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(timeout=20)
        self.process.stdout.close()

    def note_sent(self):
        """Remembers what was sent so far, before the log is forgotten with the process."""
        self.log += sent.read(self.base)

    def control(self, name, **order):
        request = urllib.request.Request(f"{self.base}/_sandbox/{name}", json.dumps(order).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


def judged(usage, judge):
    """Runs a judge against the usaged that the command line names, says what came of it, and exits."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(usage)
    usaged = sys.argv[1]
    stripe.api_key = "sk_test_judge"
    with tempfile.TemporaryDirectory() as state:
        server = Server(usaged, state)
        server.start()
        try:
            judge(server)
            server.note_sent()
        finally:
            server.stop()
    if len(sys.argv) == 3:
        sent.add(pathlib.Path(sys.argv[2]), server.log)
    for mismatch in mismatches:
        print(f"mismatch: {mismatch}")
    print(f"stripe {stripe.VERSION} against {usaged}: {checks} checks, {len(mismatches)} mismatches")
    sys.exit(1 if mismatches else 0)
