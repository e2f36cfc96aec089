#!/usr/bin/env python3
"""The official Stripe SDK judges the sandbox: whether it behaves as the SDK expects of Stripe.

usage: stripe_sdk.py path/to/usaged [sent.json]

Starts `usaged sandbox` on a free loopback port with an empty directory, goes through what the integration does, kills
it in the middle, and compares every answer. Needs stripe 11.6.1 (stripe_sdk.requirements.txt). Prints one line and
exits 0 if all is as expected, and otherwise prints each mismatch and exits 1. Adds to sent.json what the SDK sent
(sent.py).
"""

import signal
from datetime import datetime, timezone

import stripe

from sandbox import expect, expect_error, judged
from webhooks import judge_webhooks

NOVEMBER = int(datetime(2030, 11, 1, tzinfo=timezone.utc).timestamp())
DECEMBER = int(datetime(2030, 12, 1, tzinfo=timezone.utc).timestamp())
JANUARY = int(datetime(2029, 1, 1, tzinfo=timezone.utc).timestamp())
DAY = 86_400

def judge_keys():
    key = stripe.api_key
    for bad in ["sk_live_0123456789abcdef", "rk_test_unknown0123", "nonsense"]:
        stripe.api_key = bad
        error = expect_error(f"key {bad}", stripe.AuthenticationError, stripe.Balance.retrieve, http_status=401)
        expect("the key is not shown", error is not None and bad in str(error), False)
    stripe.api_key = key
    expect("a health check", stripe.Balance.retrieve().object, "balance")


def make_catalog():
    stripe.Product.create(id="prod_magicbox_pro", name="Magic Box Pro", description="Growing team tier")
    prices = {}
    for lookup_key, cents, metered in [
        ("price_pro_monthly", "19900", False),
        ("price_compute_overage_pro", "4", True),
        ("price_api_overage", "1", True),
    ]:
        recurring = {"interval": "month"}
        if metered:
            recurring |= {"usage_type": "metered", "aggregate_usage": "sum"}
        price = stripe.Price.create(
            product="prod_magicbox_pro",
            currency="eur",
            unit_amount=int(cents),
            lookup_key=lookup_key,
            recurring=recurring,
        )
        prices[lookup_key] = price.id
    found = stripe.Price.list(lookup_keys=["price_api_overage"]).data
    expect("found by lookup key", [price.id for price in found], [prices["price_api_overage"]])
    expect("usage type", found[0].recurring.usage_type, "metered")
    expect("decimal amount", found[0].unit_amount_decimal, "1")
    return prices


def make_subscription(prices):
    """As the integration guide's code does it."""
    customer = stripe.Customer.create(
        email="judge@example.com",
        name="Judge",
        metadata={"magic_box_customer_id": "42", "magic_box_vm_id": "vm-1"},
    )
    expect("metadata", customer.metadata["magic_box_vm_id"], "vm-1")
    expect("customer read back", stripe.Customer.retrieve(customer.id).name, "Judge")
    subscription = stripe.Subscription.create(
        customer=customer.id,
        items=[{"price": price} for price in prices.values()],
        payment_behavior="default_incomplete",
        billing_cycle_anchor_config={"day_of_month": 1, "hour": 0, "minute": 0, "second": 0},
        expand=["latest_invoice.payment_intent"],
    )
    expect("status before payment", subscription.status, "incomplete")
    expect("period", (subscription.current_period_start, subscription.current_period_end), (NOVEMBER, DECEMBER))
    intent = subscription.latest_invoice.payment_intent
    expect("intent", (intent.status, intent.amount), ("requires_payment_method", 19_900))
    declined = lambda: stripe.PaymentIntent.confirm(intent.id, payment_method="pm_card_chargeDeclined")
    expect_error("a declined card", stripe.CardError, declined, code="card_declined", http_status=402)
    paid = stripe.PaymentIntent.confirm(intent.id, payment_method="pm_card_visa")
    expect("intent after payment", paid.status, "succeeded")
    read = stripe.Subscription.retrieve(subscription.id, expand=["items.data.price.tiers"])
    expect("status after payment", read.status, "active")
    listed = stripe.SubscriptionItem.list(subscription=subscription.id)
    marked = stripe.SubscriptionItem.modify(listed.data[1].id, metadata={"machine": "vm-1"})
    expect("a mark on an item", dict(marked.metadata), {"machine": "vm-1"})
    return customer.id, subscription.id, {item.price.lookup_key: item.id for item in listed.auto_paging_iter()}


def report(item, quantity, timestamp, **options):
    return stripe.UsageRecord.create(
        subscription_item=item, quantity=quantity, timestamp=timestamp, action="set", **options
    )


def summaries(item):
    return stripe.SubscriptionItem.list_usage_record_summaries(item).data


def judge_usage(items):
    compute = items["price_compute_overage_pro"]
    first = report(compute, 100, NOVEMBER + 1)
    expect("record", (first.object, first.quantity, first.id[:5]), ("usage_record", 100, "mbur_"))
    report(compute, 90, NOVEMBER + 1)
    expect("set overwrites its timestamp", summaries(compute)[0].total_usage, 90)
    report(compute, 30, NOVEMBER + 2)
    expect("other timestamps add up", summaries(compute)[0].total_usage, 120)
    expect("the open period has no invoice", summaries(compute)[0].invoice, None)

    replayed = [report(compute, 25, NOVEMBER + 2, idempotency_key="judge-1") for _ in range(2)]
    expect("a replay is the same record", replayed[0].id, replayed[1].id)
    headers = replayed[1].last_response.headers
    expect("a replay says so", headers.get("Idempotent-Replayed"), "true")
    expect("the total after it", summaries(compute)[0].total_usage, 115)
    reused = lambda: report(compute, 26, NOVEMBER + 2, idempotency_key="judge-1")
    expect_error("a reused key", stripe.IdempotencyError, reused, http_status=400)


def judge_refusals(items, prices, customer):
    compute, base = items["price_compute_overage_pro"], items["price_pro_monthly"]
    invalid = stripe.InvalidRequestError
    for what, call, fields in [
        ("usage before the period", lambda: report(compute, 1, NOVEMBER), {"param": "timestamp", "code": None}),
        ("usage in the future", lambda: report(compute, 1, NOVEMBER + DAY), {"param": "timestamp", "code": None}),
        ("a negative quantity", lambda: report(compute, -1, NOVEMBER + 1), {"code": "parameter_invalid_integer"}),
        ("half a unit", lambda: report(compute, "1.5", NOVEMBER + 1), {"code": "parameter_invalid_integer"}),
        ("usage of a licensed item", lambda: report(base, 1, NOVEMBER + 1), {"http_status": 400}),
        ("an unknown item", lambda: report("si_none", 1, NOVEMBER + 1), {"code": "resource_missing"}),
        ("an unknown parameter", lambda: stripe.Customer.create(nmae="x"), {"code": "parameter_unknown", "param": "nmae"}),
        ("a missing parameter", lambda: stripe.Product.create(), {"code": "parameter_missing", "param": "name"}),
        (
            "an unknown subscription",
            lambda: stripe.Subscription.retrieve("sub_none"),
            {"code": "resource_missing", "param": "id", "http_status": 404},
        ),
        (
            "a quantity on a metered item",
            lambda: stripe.Subscription.create(
                customer=customer, items=[{"price": prices["price_api_overage"], "quantity": 0}]
            ),
            {"param": "items[0][quantity]"},
        ),
    ]:
        expect_error(what, invalid, call, **fields)
    basil = lambda: report(compute, 1, NOVEMBER + 1, stripe_version="2025-03-31.basil")
    gone = expect_error("usage records after basil", invalid, basil, http_status=404)
    expect("its words", gone is not None and gone.user_message.startswith("Unrecognized request URL (POST: /v1/"), True)


def judge_permissions(server, items, subscription):
    server.control("keys", key="rk_test_judge", permissions=["subscription_read", "usage_record_write"])
    key, stripe.api_key = stripe.api_key, "rk_test_judge"
    expect("a restricted key reads", stripe.Subscription.retrieve(subscription).id, subscription)
    report(items["price_api_overage"], 3_000, NOVEMBER + 1)
    refused = expect_error(
        "a restricted key cancels", stripe.PermissionError, lambda: stripe.Subscription.cancel(subscription), http_status=403
    )
    expect("the permission is named", refused is not None and "rak_subscription_write" in str(refused), True)
    stripe.api_key = key


def judge_faults(server, items):
    api = items["price_api_overage"]
    stripe.max_network_retries = 0
    limited = {"rate_limited": {"reason": "endpoint-rate", "retry_after": 1}}
    for effect, kind, fields in [
        (limited, stripe.RateLimitError, {"http_status": 429}),
        ("lock_timeout", stripe.RateLimitError, {"code": "lock_timeout"}),
        ("key_in_use", stripe.APIError, {"http_status": 409, "code": "idempotency_key_in_use"}),
        ("unauthorized", stripe.AuthenticationError, {"http_status": 401}),
        ("error_before_commit", stripe.APIError, {"http_status": 500}),
        ("html", stripe.APIError, {"http_status": 502}),
        ("truncated_json", stripe.APIError, {}),
        ("cut_before_commit", stripe.APIConnectionError, {}),
    ]:
        server.control("faults", method="POST", path="/v1/subscription_items/*/usage_records", effect=effect)
        expect_error(f"fault {effect}", kind, lambda: report(api, 3_000, NOVEMBER + 1), **fields)
    # The SDK's own retries carry the same key: what was done before the cut is found again, not done twice.
    stripe.max_network_retries = 2
    server.control("faults", method="POST", path="/v1/subscription_items/*/usage_records", effect="cut_after_commit")
    added = stripe.UsageRecord.create(subscription_item=api, quantity=333, timestamp=NOVEMBER + 1, action="increment")
    expect("a lost answer is found again", added.last_response.headers.get("Idempotent-Replayed"), "true")
    expect("and counted once", summaries(api)[0].total_usage, 3_333)


def judge_restart(server, items):
    server.stop(signal.SIGKILL)
    server.start(server.base.removeprefix("http://"))
    expect("usage after kill -9", summaries(items["price_api_overage"])[0].total_usage, 3_333)
    again = report(items["price_compute_overage_pro"], 25, NOVEMBER + 2, idempotency_key="judge-1")
    expect("keys after kill -9", again.last_response.headers.get("Idempotent-Replayed"), "true")


def judge_invoices(server, customer, subscription, items):
    owed = 115 * 4 + 3_333 * 1 + 19_900
    upcoming = stripe.Invoice.upcoming(customer=customer)
    expect("upcoming", (upcoming.amount_due, upcoming.amount_due / 100), (owed, owed / 100))
    server.control("clock", set=DECEMBER + 3_600)
    invoices = stripe.Invoice.list(subscription=subscription).data
    expect("invoices", [invoice.billing_reason for invoice in invoices], ["subscription_cycle", "subscription_create"])
    invoice = stripe.Invoice.retrieve(invoices[0].id)
    expect("invoice", (invoice.total, invoice.status, invoice.amount_paid), (owed, "paid", owed))
    lines = {line.price.lookup_key: (line.quantity, line.amount) for line in invoice.lines.data}
    wanted = {"price_compute_overage_pro": (115, 460), "price_api_overage": (3_333, 3_333), "price_pro_monthly": (1, 19_900)}
    expect("its lines", lines, wanted)
    open_period, closed = summaries(items["price_compute_overage_pro"])
    expect("the closed period", (closed.total_usage, closed.invoice, closed.period.end), (115, invoice.id, DECEMBER))
    expect("the open period", (open_period.total_usage, open_period.invoice), (0, None))
    late = lambda: report(items["price_compute_overage_pro"], 1, DECEMBER - 1)
    expect_error("usage after the period", stripe.InvalidRequestError, late, param="timestamp")
    canceled = stripe.Subscription.cancel(subscription, invoice_now=True)
    expect("canceled", canceled.status, "canceled")
    nothing = lambda: stripe.Invoice.upcoming(customer=customer)
    expect_error("nothing upcoming", stripe.InvalidRequestError, nothing, code="invoice_upcoming_none")


def advance(clock, to):
    """Moves a test clock on, and waits as an integration has to."""
    under_way = stripe.test_helpers.TestClock.advance(clock, frozen_time=to)
    expect("an advance", (under_way.status, under_way.status_details.advancing.target_frozen_time), ("advancing", to))
    there = stripe.test_helpers.TestClock.retrieve(clock)
    expect("the clock after it", (there.status, there.frozen_time), ("ready", to))


def live_on_a_clock(prices, **options):
    """A customer in January 2029 with the base and a metered price: the clock, the subscription, the metered item."""
    clock = stripe.test_helpers.TestClock.create(frozen_time=JANUARY, name="judge")
    customer = stripe.Customer.create(test_clock=clock.id, payment_method="pm_card_visa")
    expect("the customer's clock", (customer.test_clock, customer.created), (clock.id, JANUARY))
    items = [{"price": prices["price_pro_monthly"]}, {"price": prices["price_compute_overage_pro"]}]
    subscription = stripe.Subscription.create(customer=customer.id, items=items, **options)
    expect("the subscription's clock", subscription.test_clock, clock.id)
    return clock.id, subscription.id, subscription["items"].data[1].id


def billed(subscription):
    """Status and total of every invoice, oldest first."""
    invoices = stripe.Invoice.list(subscription=subscription, limit=100).data
    return [(invoice.status, invoice.total) for invoice in reversed(invoices)]


def judge_clocks(prices):
    clock, subscription, item = live_on_a_clock(prices)
    report(item, 50, JANUARY + 1)
    far = lambda: stripe.test_helpers.TestClock.advance(clock, frozen_time=JANUARY + 60 * DAY)
    expect_error("more than two intervals ahead", stripe.InvalidRequestError, far, param="frozen_time")
    advance(clock, JANUARY + 32 * DAY)
    back = lambda: stripe.test_helpers.TestClock.advance(clock, frozen_time=JANUARY)
    expect_error("a clock set back", stripe.InvalidRequestError, back, param="frozen_time")
    expect("its invoices", billed(subscription), [("paid", 19_900), ("paid", 20_100)])
    expect("customers on it", [one.test_clock for one in stripe.Customer.list(test_clock=clock).data], [clock])
    expect("customers on none", [one.id for one in stripe.Customer.list().data if one.test_clock], [])
    expect("deleted", stripe.test_helpers.TestClock.delete(clock).deleted, True)
    gone = lambda: stripe.Subscription.retrieve(subscription)
    expect_error("what was on it", stripe.InvalidRequestError, gone, code="resource_missing", http_status=404)


def judge_life(prices):
    clock, subscription, item = live_on_a_clock(prices, trial_period_days=7)
    report(item, 50, JANUARY + 1)
    advance(clock, JANUARY + DAY)
    expect("in a trial", stripe.Subscription.retrieve(subscription).status, "trialing")
    ended = stripe.Subscription.modify(subscription, trial_end="now")
    expect("after it", (ended.status, billed(subscription)), ("active", [("paid", 0), ("paid", 19_900)]))

    paused = stripe.Subscription.modify(subscription, pause_collection={"behavior": "void"})
    expect("paused collection", (paused.status, paused.pause_collection.behavior), ("active", "void"))
    advance(clock, JANUARY + 32 * DAY)
    expect("what it makes", billed(subscription)[-1], ("void", 19_900))
    stripe.Subscription.modify(subscription, pause_collection="", default_payment_method="pm_card_chargeCustomerFail")
    advance(clock, JANUARY + 63 * DAY)
    expect("a declined payment", stripe.Subscription.retrieve(subscription).status, "past_due")
    owed = stripe.Invoice.list(subscription=subscription).data[0].id
    expect_error("paid again", stripe.CardError, lambda: stripe.Invoice.pay(owed), code="card_declined")
    stripe.Invoice.pay(owed, payment_method="pm_card_visa")
    expect("after payment", stripe.Subscription.retrieve(subscription).status, "active")

    report(item, 25, JANUARY + 63 * DAY)
    moved = stripe.Subscription.modify(subscription, billing_cycle_anchor="now", proration_behavior="none")
    expect("an anchor set to now", (moved.current_period_start, moved.billing_cycle_anchor), (JANUARY + 63 * DAY,) * 2)
    expect("its invoice", billed(subscription)[-1], ("paid", 25 * 4 + 19_900))
    late = lambda: report(item, 1, JANUARY + 63 * DAY)
    expect_error("usage of the period cut short", stripe.InvalidRequestError, late, param="timestamp")
    within = JANUARY + 70 * DAY
    told = stripe.Subscription.modify(subscription, cancel_at=within, proration_behavior="none")
    found = (told.cancel_at, told.current_period_end, told.cancel_at_period_end)
    expect("an end within the period", found, (within, within, False))
    back = stripe.Subscription.modify(subscription, cancel_at="", proration_behavior="none")
    expect("taken back", (back.cancel_at, back.current_period_end), (None, moved.current_period_end))
    ending = stripe.Subscription.modify(subscription, cancel_at_period_end=True)
    expect("ending", (ending.status, ending.cancel_at), ("active", ending.current_period_end))
    report(item, 10, JANUARY + 63 * DAY + 1)
    advance(clock, ending.current_period_end + 3_600)
    ended = stripe.Subscription.retrieve(subscription)
    expect("ended", (ended.status, billed(subscription)[-1]), ("canceled", ("paid", 40)))


def judge_pausing_trials():
    monthly = stripe.Price.list(lookup_keys=["price_pro_monthly"]).data[0].id
    clock = stripe.test_helpers.TestClock.create(frozen_time=JANUARY).id
    customer = stripe.Customer.create(test_clock=clock).id
    subscription = stripe.Subscription.create(
        customer=customer,
        items=[{"price": monthly}],
        trial_period_days=3,
        trial_settings={"end_behavior": {"missing_payment_method": "pause"}},
    ).id
    advance(clock, JANUARY + 4 * DAY)
    expect("nothing to pay with", stripe.Subscription.retrieve(subscription).status, "paused")
    stripe.Customer.modify(customer, invoice_settings={"default_payment_method": "pm_card_visa"})
    resumed = stripe.Subscription.resume(subscription, billing_cycle_anchor="now")
    expect("resumed", (resumed.status, resumed.current_period_start), ("active", JANUARY + 4 * DAY))


def judge_thin_events(server):
    server.control(
        "meter_errors",
        meter="mtr_judge",
        identifier="e-1",
        idempotency_key="judge-key",
        code="meter_event_customer_not_found",
    )
    server.control("meter_errors", identifier="e-2", code="no_meter")
    server.control("clock", advance=10)
    client = stripe.StripeClient(stripe.api_key, base_addresses={"api": server.base})
    kinds = [event.type for event in client.v2.core.events.list({"limit": 1}).auto_paging_iter()]
    expect("all events", kinds, ["v1.billing.meter.no_meter_found", "v1.billing.meter.error_report_triggered"])
    [event] = client.v2.core.events.list({"object_id": "mtr_judge"}).data
    event = client.v2.core.events.retrieve(event.id)
    expect("its class", type(event).__name__, "V1BillingMeterErrorReportTriggeredEvent")
    expect("its meter", (event.related_object.id, event.related_object.type), ("mtr_judge", "billing.meter"))
    [kind] = event.data.reason.error_types
    expect("what it counts", (event.data.reason.error_count, kind.code), (1, "meter_event_customer_not_found"))
    # Not `.request`: that is a method of the SDK's objects.
    expect("the key it quotes", kind.sample_errors[0]["request"]["identifier"], "judge-key")


def judge_discounts(prices):
    stripe.Coupon.create(id="JUDGED", amount_off=1_000, currency="eur", duration="once")
    code = stripe.PromotionCode.create(coupon="JUDGED", code="JUDGE")
    expect("promotion code", (code.coupon.id, code.coupon.amount_off), ("JUDGED", 1_000))
    customer = stripe.Customer.create(payment_method="pm_card_visa").id
    subscription = stripe.Subscription.create(
        customer=customer, items=[{"price": prices["price_pro_monthly"]}], promotion_code=code.id, expand=["latest_invoice"]
    )
    invoice = subscription.latest_invoice
    expect("off", (invoice.subtotal - invoice.total, invoice.discount.promotion_code), (1_000, code.id))
    expect("only once", (subscription.discount, stripe.Invoice.upcoming(customer=customer).discount), (None, None))
    stripe.Subscription.cancel(subscription.id)


def judge_limits(server):
    retries, stripe.max_network_retries = stripe.max_network_retries, 0
    server.control("limit", preset="sandbox")
    for _ in range(25):
        stripe.Balance.retrieve()
    refused = expect_error("the 26th in a second", stripe.RateLimitError, stripe.Balance.retrieve, code="rate_limit")
    expect("its reason", refused and refused.headers.get("Stripe-Rate-Limited-Reason"), "global-rate")
    server.control("limit", per_second=None)
    stripe.max_network_retries = retries


def judge(server):
    server.control("clock", set=NOVEMBER, frozen=True)
    judge_keys()
    prices = make_catalog()
    customer, subscription, items = make_subscription(prices)
    server.control("clock", advance=60)
    judge_usage(items)
    judge_refusals(items, prices, customer)
    judge_permissions(server, items, subscription)
    judge_faults(server, items)
    server.note_sent()
    judge_restart(server, items)
    judge_webhooks(server)
    judge_clocks(prices)
    judge_life(prices)
    judge_pausing_trials()
    judge_discounts(prices)
    judge_limits(server)
    judge_thin_events(server)
    judge_invoices(server, customer, subscription, items)


if __name__ == "__main__":
    judged(__doc__, judge)
