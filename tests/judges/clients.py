#!/usr/bin/env python3
"""Runs what docs/api.md and docs/examples/usaged.py show against a daemon: each records, and counts once.

usage: clients.py path/to/usaged [LANGUAGE...]

Runs the examples in these languages, named as in docs/api.md; without any, those that are there. Exits 1 if one is at fault.
"""

import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

from daemon import Daemon

ROOT = pathlib.Path(__file__).parents[2]
SOCKET = "/run/usaged/usaged.sock"
# How a text of the document becomes a program, and how that is run.
LANGUAGES = {
    "sh": ("example.sh", None, ["sh", "example.sh"]),
    "python": ("example.py", None, [sys.executable, "example.py"]),
    "js": ("example.js", None, ["node", "example.js"]),
    "go": ("example.go", ["go", "build", "-o", "example", "example.go"], ["./example"]),
    "rust": ("example.rs", ["rustc", "--edition", "2024", "-o", "example", "example.rs"], ["./example"]),
}

sys.path.insert(0, str(ROOT / "docs/examples"))
sys.dont_write_bytecode = True
import usaged as client  # noqa: E402

faults = []
checks = 0


def expect(what, found, wanted):
    global checks
    checks += 1
    if found != wanted:
        faults.append(f"{what}: found {found!r}, wanted {wanted!r}")


def used(daemon):
    """Credits that were used in this period."""
    return next(meter["used"] for meter in daemon.get("/v1/usage")["meters"] if meter["name"] == "api_credits")


def example(daemon, language, text):
    """Run twice, it records once."""
    file, compile_it, run_it = LANGUAGES[language]
    expect(f"{language}: it names the socket", text.count(SOCKET), 1)
    before = used(daemon)
    with tempfile.TemporaryDirectory() as directory:
        text = text.replace(SOCKET, str(daemon.socket)).replace("order-1", f"order-{language}")
        (pathlib.Path(directory) / file).write_text(text)
        if compile_it:
            subprocess.run(compile_it, cwd=directory, check=True)
        for outcome in ("accepted", "duplicate"):
            done = subprocess.run(run_it, cwd=directory, text=True, capture_output=True, timeout=60)
            said = done.stdout + done.stderr
            expect(f"{language}: exit code ({said})", done.returncode, 0)
            # In a count of each outcome, too, so it is asked for as the value of a field or on its own.
            expect(f"{language}: says {outcome} ({said})", bool(re.search(rf'(":\s*"| ){outcome}\b', said)), True)
    expect(f"{language}: counts once", used(daemon) - before, 5)


def raised(kind, ask):
    try:
        return f"not refused, but answered {ask()!r}"
    except kind as error:
        return error


def losing_the_first_answer(daemon, path):
    """A socket that hands on every question, and not the first answer."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve():
        for number in range(2):
            caller, _ = listener.accept()
            server = daemon.connect()
            question = b""
            # Its head and its body may come one after the other.
            while not question.endswith(b"}"):
                question += caller.recv(65536)
            server.sendall(question)
            answer = server.recv(65536)
            if number > 0:
                caller.sendall(answer)
            caller.close()
            server.close()

    threading.Thread(target=serve, daemon=True).start()


def python_client(daemon):
    usaged = client.Usaged(str(daemon.socket))
    before = used(daemon)
    expect("client: a record", usaged.record("api_credits", "2.5", id="mine", source="shop"), "accepted")
    expect("client: the same again", usaged.record("api_credits", "2.5", id="mine", source="shop"), "duplicate")
    expect("client: another", usaged.record("api_credits", 1), "accepted")
    expect("client: counts each once", used(daemon) - before, 3.5)
    expect("client: status", usaged.status()["mode"], "sandbox")
    expect("client: usage", usaged.usage()["meters"], daemon.get("/v1/usage")["meters"])

    refused = raised(client.Refused, lambda: usaged.record("nosuch", 1))
    expect("client: a refusal", getattr(refused, "code", refused), "unknown_meter")
    refused = raised(client.Refused, lambda: usaged.record("api_credits", 7, id="mine", source="shop"))
    expect("client: an id of another record", getattr(refused, "code", refused), "id_conflict")
    wrong = raised(client.UsagedError, lambda: usaged.usage("november"))
    expect("client: a month", (getattr(wrong, "status", wrong), "\nhint: " in str(wrong)), (400, True))

    path = str(daemon.scratch / "lossy.sock")
    losing_the_first_answer(daemon, path)
    before = used(daemon)
    expect("client: a lost answer", client.Usaged(path).record("api_credits", 1), "duplicate")
    expect("client: a lost answer counts once", used(daemon) - before, 1)

    daemon.stop()
    nobody = raised(client.NotReachable, lambda: client.Usaged(str(daemon.socket), retry_for=0).status())
    expect("client: nobody is there", (getattr(nobody, "code", nobody), "\nhint: " in str(nobody)), ("not_reachable", True))
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(usaged.record("api_credits", 1, id="patient")))
    waiting.start()
    daemon.get("/v1/status")
    waiting.join(60)
    expect("client: waits until somebody is there", answers, ["accepted"])


def main():
    document = (ROOT / "docs/api.md").read_text().split("### From a program\n")[1].split("\n## ")[0]
    examples = dict(re.findall(r"^```(\w+)\n(.*?)^```$", document, re.M | re.S))
    expect("docs/api.md shows", sorted(examples), sorted(LANGUAGES))
    wanted = sys.argv[2:] or [name for name in examples if shutil.which((LANGUAGES[name][1] or LANGUAGES[name][2])[0])]
    with tempfile.TemporaryDirectory() as scratch:
        daemon = Daemon(sys.argv[1], scratch)
        try:
            for language in wanted:
                example(daemon, language, examples[language])
            python_client(daemon)
        finally:
            daemon.stop()
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"clients: {checks} checks in {', '.join(wanted)}, and nothing to find fault with")


main()
