#!/usr/bin/env python3
"""The official Stripe SDK judges the receiver of webhooks: what it lets in, and nothing else.

usage: receiver.py path/to/usaged

Starts `usaged run --sandbox` with a receiver, and gives it signed events that the SDK made, and headers of every kind. Each
has to be answered as the SDK's own construct_event decides. Needs stripe (stripe_sdk.requirements.txt). Prints one line and
exits 0 if all is as expected, and otherwise prints each mismatch and exits 1.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import stripe

SECRET = "whsec_judge"
ROLLED = "whsec_judgeUntilItIsRolled"
mismatches = []
checks = 0


class Receiver:
    """usaged with its own sandbox, and an address for webhooks."""

    def __init__(self, usaged, home):
        config = home / "usaged.toml"
        secrets = home / "secrets"
        secrets.touch(mode=0o600)
        secrets.write_text(f"{SECRET}\n{ROLLED}\n")
        config.write_text(f'[webhook]\nlisten = "127.0.0.1:0"\nsecret_file = "{secrets}"\n')
        places = ["--state-dir", home / "state", "--runtime-dir", home / "run", "--config", config]
        environment = {"PATH": os.environ["PATH"]}
        command = [usaged, "run", "--sandbox", *map(str, places)]
        self.log = open(home / "log", "w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)
        self.address = self.await_address(home / "log")

    def await_address(self, log):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            found = re.search(r"webhooks are taken on (http://\S+/webhooks/)", log.read_text())
            if found:
                return found[1] + "stripe"
            time.sleep(0.05)
        raise SystemExit(f"nobody takes webhooks: {log.read_text()}")

    def post(self, header, body):
        headers = {"Content-Type": "application/json"}
        if header is not None:
            headers["Stripe-Signature"] = header
        request = urllib.request.Request(self.address, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self.log.close()


def signed(body, secret=SECRET, at=None, scheme="v1"):
    at = int(time.time()) if at is None else at
    tag = stripe.WebhookSignature._compute_signature(f"{at}.{body.decode()}", secret)
    return f"t={at},{scheme}={tag}"


def judge(receiver, what, header, body, secrets=(SECRET, ROLLED)):
    """As the SDK decides with any of the secrets."""
    global checks
    checks += 1

    def lets_in(secret):
        try:
            stripe.Webhook.construct_event(body, header, secret)
        except (ValueError, AttributeError, stripe.SignatureVerificationError):
            return False
        return True

    wanted = 200 if any(lets_in(secret) for secret in secrets) else 400
    found = receiver.post(header, body)
    if found != wanted:
        mismatches.append(f"{what}: answered {found}, and the SDK says {wanted}: {header!r}")
    return wanted


def event(kind, **fields):
    data = {"object": {"id": "cus_judge", "object": "customer"} | fields}
    value = {"id": "evt_judge", "object": "event", "type": kind, "created": int(time.time()), "data": data}
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def judge_all(receiver):
    body = event("customer.updated", name="Jürgen ✓")
    now = int(time.time())
    tag = signed(body).split("v1=")[1]
    let_in = [
        judge(receiver, "signed", signed(body), body),
        judge(receiver, "signed with the rolled secret", signed(body, ROLLED), body),
        judge(receiver, "both signatures", f"{signed(body, 'whsec_other')},v1={tag}", body),
        judge(receiver, "an extra signature that is none", f"{signed(body)},v1=potato", body),
        judge(receiver, "another scheme as well", f"{signed(body)},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39", body),
        judge(receiver, "nearly too old", signed(body, at=now - 280), body),
        judge(receiver, "from a clock ahead", signed(body, at=now + 3_600), body),
        judge(receiver, "a kind that nobody waits for", signed(event("charge.succeeded")), event("charge.succeeded")),
    ]
    refused = [
        judge(receiver, "no header", None, body),
        judge(receiver, "an empty header", "", body),
        judge(receiver, "no header's words", "I'm not even a real signature header", body),
        judge(receiver, "a time alone", f"t={now}", body),
        judge(receiver, "no value", "t=", body),
        judge(receiver, "no time", f"v1={tag}", body),
        judge(receiver, "names without values", "v1,t=1", body),
        judge(receiver, "another scheme alone", signed(body, scheme="v0"), body),
        judge(receiver, "another secret", signed(body, "whsec_other"), body),
        judge(receiver, "a signature that is none", f"t={now},v1=bad_signature", body),
        judge(receiver, "half a signature", f"t={now},v1={tag[:32]}", body),
        judge(receiver, "too old", signed(body, at=now - 310), body),
        judge(receiver, "another time", f"t={now - 5},v1={tag}", body),
        judge(receiver, "another body", signed(body), body.replace(b"cus_judge", b"cus_other")),
        judge(receiver, "one blank more", signed(body), body + b" "),
        judge(receiver, "no JSON", signed(b"payload"), b"payload"),
    ]
    if set(let_in) != {200} or set(refused) != {400}:
        mismatches.append(f"the SDK decides otherwise than these cases were made for: {let_in} {refused}")


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: receiver.py path/to/usaged")
    with tempfile.TemporaryDirectory() as home:
        receiver = Receiver(sys.argv[1], pathlib.Path(home))
        try:
            judge_all(receiver)
        finally:
            receiver.stop()
    for mismatch in mismatches:
        print(f"mismatch: {mismatch}")
    print(f"stripe {stripe.VERSION} and the receiver of {sys.argv[1]}: {checks} checks, {len(mismatches)} mismatches")
    sys.exit(1 if mismatches else 0)


main()
