#!/usr/bin/env python3
"""Has schemathesis hold a running daemon against the document that it serves.

usage: contract.py path/to/usaged

Needs contract.requirements.txt. What is asked is in contract.toml, with a fixed seed. Exits 0 if no answer is a 5xx or other
than the document says.
"""

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

from daemon import Daemon

HERE = pathlib.Path(__file__).parent
# After these the daemon is not what it was: it has stopped, takes no records, or begins with an empty ledger.
ENDS = ["/v1/prepare-image", "/v1/drain", "/v1/identity", "/v1/db/recover"]


def carry(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    # Also where a daemon that ended has cut it off: whoever asked must not wait for what never comes.
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def forward(daemon):
    """A loopback address behind which the daemon's socket is."""
    listener = socket.create_server(("127.0.0.1", 0))

    def take(client):
        server = daemon.connect()
        answers = threading.Thread(target=carry, args=(server, client), daemon=True)
        answers.start()
        carry(client, server)
        answers.join()
        client.close()
        server.close()

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=take, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def until_billed(daemon):
    end = time.monotonic() + 60
    while not daemon.get("/v1/status")["push"]["last_accepted_at"]:
        if time.monotonic() > end:
            raise SystemExit("waited in vain until a push was accepted")
        time.sleep(0.1)


def judge(daemon, address, document, paths):
    program = pathlib.Path(sys.executable).with_name("st")
    # A daemon that is told to stop has ten seconds for its last words, and whoever asks meanwhile waits for the next one.
    patience = ["--request-timeout", "60", "--request-retries", "3"]
    which = [option for path in paths for option in ("--include-path", path)]
    return subprocess.run(
        [program, "--config-file", HERE / "contract.toml", "run", document, "--url", address, *patience, *which], cwd=daemon.scratch
    ).returncode


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: contract.py path/to/usaged")
    with tempfile.TemporaryDirectory() as scratch:
        daemon = Daemon(sys.argv[1], scratch)
        try:
            until_billed(daemon)
            document = pathlib.Path(scratch) / "openapi.json"
            served = daemon.get("/v1/openapi.json")
            document.write_text(json.dumps(served))
            address = forward(daemon)
            lasting = [path for path in served["paths"] if path not in ENDS]
            ends = [judge(daemon, address, document, paths) for paths in (lasting, ENDS)]
        finally:
            daemon.stop()
    if any(ends):
        raise SystemExit("the daemon is not what its document says")
    print("the daemon is what its document says")


main()
