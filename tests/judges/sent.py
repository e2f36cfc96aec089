#!/usr/bin/env python3
"""What is sent to Stripe: by the official SDKs, as the judges write it down, and by usaged.

usage: sent.py sent.json LOG...

LOG is a sandbox's address (http://127.0.0.1:12111), whose log is read, a file that holds such a log (the answer of
GET /_sandbox/requests), or the path of a usaged, which is run with its own sandbox until it has pushed. Each call in it
has to be one the SDK makes in the same way: method and path, every field that the SDK always sends and none that it
never does, values of the same kind, a form as the body, an idempotency key where the SDK has one, and a version of the
API on the same side of basil. Prints one line per log and exits 0 if all are, and otherwise prints each mismatch and
exits 1.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

BASIL = "2025-03-31"
ID = re.compile(r"^(acct|cus|evt|ii|il|in|mbur|mtr|pi|pm|price|prod|si|sub|we)_\w+$")
FORM = "application/x-www-form-urlencoded"


def read(base):
    """The log of the sandbox at this address."""
    with urllib.request.urlopen(f"{base}/_sandbox/requests", timeout=20) as answer:
        return json.load(answer)["requests"]


def kind(value):
    """What a value is, whatever it is this time."""
    if re.fullmatch(r"-?\d+", value):
        return "integer"
    found = ID.match(value)
    return f"{found[1]}_…" if found else "text"


def call_of(request):
    """A request's name: its method and path without ids, and the side of basil, since the API differs by that."""
    path = "/".join(kind(part) if ID.match(part) else part for part in request["path"].split("/"))
    version = request["stripe_version"] or ""
    return f"{request['method']} {path} {'since' if version >= BASIL else 'before'} basil"


def fields_of(request):
    pairs = urllib.parse.parse_qsl(request["parameters"], keep_blank_values=True)
    plain = lambda name: re.sub(r"^metadata\[.*", "metadata[…]", re.sub(r"\[\d+\]", "[]", name))
    return {plain(name): kind(value) for name, value in pairs}


def content_type(request):
    """A body's type; a GET has none."""
    return (request["content_type"] or "").split(";")[0] if request["method"] == "POST" else None


def add(path, log):
    """Adds what was sent and accepted to the file of all calls."""
    calls = json.loads(path.read_text()) if path.exists() else {}
    for request in log:
        if request["status"] != 200 or request["fault"]:
            continue
        fields = fields_of(request)
        fresh = {"always": sorted(fields), "ever": {}, "content_type": content_type(request), "has_key": True}
        call = calls.setdefault(call_of(request), fresh)
        call["always"] = [name for name in call["always"] if name in fields]
        call["has_key"] = call["has_key"] and bool(request["idempotency_key"])
        for name, what in fields.items():
            call["ever"][name] = sorted({*call["ever"].get(name, []), what})
    path.write_text(json.dumps(calls, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def differences(calls, request):
    """How a request differs from what the SDK sends."""
    call = calls.get(call_of(request))
    if call is None:
        yield "the SDK makes no such call"
        return
    fields = fields_of(request)
    for name in call["always"]:
        if name not in fields:
            yield f"without {name}, which the SDK always sends"
    for name, what in fields.items():
        kinds = call["ever"].get(name)
        if kinds is None:
            yield f"with {name}, which the SDK never sends"
        elif what not in kinds:
            yield f"{name} is of the kind {what}, at the SDK {' or '.join(kinds)}"
    if content_type(request) != call["content_type"]:
        yield f"content type {content_type(request)!r}, at the SDK {call['content_type']!r}"
    if call["has_key"] and not request["idempotency_key"]:
        yield "without an idempotency key"
    if request["stripe_version"] is None:
        yield "without a version"


# Where each kind of provider pushes to.
PUSHED = {"stripe-meters": "/meter_events", "stripe-usage-records": "/usage_records"}


def run_until_pushed(usaged, kind):
    """The log of the sandbox inside `usaged run --sandbox`, once it has read and pushed by this kind of provider."""
    with tempfile.TemporaryDirectory() as state:
        config = pathlib.Path(state, "usaged.toml")
        config.write_text(f'[provider]\nkind = "{kind}"\n')
        command = [usaged, "--config", str(config), "--state-dir", state, "--runtime-dir", state, "run", "--sandbox"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            line = process.stdout.readline()
            base = "http://" + line.split("http://", 1)[1].split(",")[0].split()[0]
            # A meter event lies in a whole minute of its period, which has only just begun.
            deadline = time.monotonic() + 150
            while True:
                log = [request for request in read(base) if request["path"].startswith("/v1/")]
                if any(request["path"].endswith(PUSHED[kind]) and request["status"] == 200 for request in log):
                    return log
                if time.monotonic() > deadline:
                    raise SystemExit(f"{' '.join(command)} pushed nothing in time: {log}")
                time.sleep(0.2)
        finally:
            process.terminate()
            process.wait(timeout=30)
            process.stdout.close()


def log_of(source):
    if source.startswith("http://"):
        return read(source)
    data = pathlib.Path(source).read_bytes()
    if data[:1] == b"{":
        return json.loads(data)["requests"]
    return [request for kind in PUSHED for request in run_until_pushed(source, kind)]


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    calls = json.loads(pathlib.Path(sys.argv[1]).read_text())
    wrong = 0
    for source in sys.argv[2:]:
        log = [request for request in log_of(source) if request["path"].startswith("/v1/")]
        found = {f"{call_of(request)}: {what}" for request in log for what in differences(calls, request)}
        for mismatch in sorted(found):
            print(f"mismatch: {mismatch}")
        kinds = {call_of(request) for request in log}
        print(f"sent by {source}: {len(log)} requests of {len(kinds)} kinds, {len(found)} mismatches")
        wrong += len(found) + (not log)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
