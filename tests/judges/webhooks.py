"""Whether the SDK takes what the sandbox delivers, and refuses what it forges: a part of both judges of Stripe.

The receiver is a real HTTP server on a free loopback port, and does what Stripe tells receivers to do.
"""

import http.server
import queue
import threading
import time

import stripe

from sandbox import expect, expect_error

TOLERANCE = 300


class Receiver(http.server.ThreadingHTTPServer):
    """Hands on each delivery as body and signature, and answers 200."""

    def __init__(self):
        self.came = queue.Queue()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def take(self, secret):
        """The next delivery, as the SDK reads it."""
        body, signature = self.came.get(timeout=20)
        return stripe.Webhook.construct_event(body, signature, secret, tolerance=TOLERANCE)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.server.came.put((body, self.headers["Stripe-Signature"]))

    def log_message(self, *_):
        pass


def arrived(event):
    """Waits until the sandbox knows that all endpoints have it."""
    give_up = time.monotonic() + 20
    while stripe.Event.retrieve(event).pending_webhooks and time.monotonic() < give_up:
        time.sleep(0.02)
    return stripe.Event.retrieve(event).pending_webhooks == 0


def judge_endpoints(endpoint, url):
    expect("its secret", endpoint.secret[:6], "whsec_")
    listed = stripe.WebhookEndpoint.list().data
    expect("endpoints", [(one.id, one.url, one.status) for one in listed], [(endpoint.id, url, "enabled")])
    expect("the secret is shown once", "secret" in stripe.WebhookEndpoint.retrieve(endpoint.id), False)
    events = [*endpoint.enabled_events, "invoice.paid"]
    changed = stripe.WebhookEndpoint.modify(endpoint.id, enabled_events=events, description="judge")
    expect("changed", (changed.enabled_events, changed.description), (events, "judge"))
    unknown = lambda: stripe.WebhookEndpoint.create(url=url, enabled_events=["invoice.payed"])
    expect_error("an unknown type", stripe.InvalidRequestError, unknown, param="enabled_events[0]")


def judge_deliveries(receiver, secret):
    customer = stripe.Customer.create(name="Webhook")
    event = receiver.take(secret)
    expect("delivered", (event.type, event.data.object.id, event.livemode), ("customer.created", customer.id, False))
    expect("its object", (type(event.data.object).__name__, event.data.object.name), ("Customer", "Webhook"))
    expect("its version", event.api_version, stripe.api_version)
    expect("arrived", arrived(event.id), True)
    expect("the request", stripe.Event.retrieve(event.id)["request"]["id"], customer.last_response.request_id)
    stripe.Customer.modify(customer.id, name="Webhook 2", metadata={"judge": "1"})
    previous = receiver.take(secret).data.previous_attributes
    expect("what it was before", (previous["name"], previous["metadata"]["judge"]), ("Webhook", None))
    newest = stripe.Event.list(types=["customer.created", "customer.updated"], limit=1).auto_paging_iter()
    kinds = [found.type for found, _ in zip(newest, range(2))]
    expect("events, newest first", kinds, ["customer.updated", "customer.created"])
    since = stripe.Event.list(type="customer.updated", created={"gt": event.created}).data
    expect("events of later", since, [])
    return customer.id


def judge_signatures(server, receiver, secret, customer, now):
    refused = stripe.SignatureVerificationError
    for effect, is_good in [
        ("bogus", True),
        ("forged", False),
        ({"old": now - int(time.time()) + TOLERANCE + 60}, False),
    ]:
        server.control("tamperings", effect=effect)
        stripe.Customer.modify(customer, name=str(effect))
        if is_good:
            expect(f"{effect}", receiver.take(secret).data.object.name, str(effect))
        else:
            expect_error(f"{effect}", refused, lambda: receiver.take(secret))
    server.control("tamperings", effect="twice")
    stripe.Customer.modify(customer, name="twice")
    expect("twice", len({receiver.take(secret).id for _ in range(2)}), 1)


def judge_rolling(server, receiver, endpoint, old, customer):
    new = server.control("roll_secret", webhook_endpoint=endpoint, old_valid_s=60)["secret"]
    stripe.Customer.modify(customer, name="rolled")
    body, signature = receiver.came.get(timeout=20)
    for secret in [old, new]:
        event = stripe.Webhook.construct_event(body, signature, secret)
        expect("while it rolls", event.data.object.name, "rolled")
    server.control("clock", advance=60)
    stripe.Customer.modify(customer, name="done")
    body, signature = receiver.came.get(timeout=20)
    expect("after it", stripe.Webhook.construct_event(body, signature, new).type, "customer.updated")
    read = lambda: stripe.Webhook.construct_event(body, signature, old)
    expect_error("the old secret", stripe.SignatureVerificationError, read)


def judge_webhooks(server):
    """The sandbox's clock stands meanwhile."""
    now = server.control("clock")["now"]
    with Receiver() as receiver:
        events = ["customer.created", "customer.updated"]
        version = stripe.api_version
        endpoint = stripe.WebhookEndpoint.create(url=receiver.url, enabled_events=events, api_version=version)
        judge_endpoints(endpoint, receiver.url)
        customer = judge_deliveries(receiver, endpoint.secret)
        judge_signatures(server, receiver, endpoint.secret, customer, now)
        judge_rolling(server, receiver, endpoint.id, endpoint.secret, customer)
        expect("deleted", stripe.WebhookEndpoint.delete(endpoint.id).deleted, True)
        expect("endpoints after it", stripe.WebhookEndpoint.list().data, [])
