#!/usr/bin/env python3
"""The official Stripe SDK judges the sandbox's billing meters, in an API version without usage records.

usage: stripe_sdk_meters.py path/to/usaged [sent.json]

Starts `usaged sandbox` on a free loopback port with an empty directory, makes meters, prices, a subscription and events,
corrects and reads them, kills it in the middle, and follows the invoice until it is final, comparing every answer. Needs
stripe 16.1.0 (stripe_sdk_meters.requirements.txt). Prints one line and exits 0 if all is as expected, and otherwise prints
each mismatch and exits 1. Adds to sent.json what the SDK sent (sent.py).
"""

import signal
from datetime import datetime, timezone
from decimal import Decimal

import stripe

from sandbox import expect, expect_error, judged
from webhooks import judge_webhooks

NOVEMBER = int(datetime(2030, 11, 1, tzinfo=timezone.utc).timestamp())
DECEMBER = int(datetime(2030, 12, 1, tzinfo=timezone.utc).timestamp())
MINUTE, HOUR, DAY = 60, 3_600, 86_400
INVALID = stripe.InvalidRequestError


def make_meters():
    """One of each way to "set to N", and one that is only to be put away."""
    meters = {}
    for event_name, formula, window in [
        ("judged_last", "last", None),
        ("judged_days", "sum", "day"),
        ("judged_sum", "sum", None),
    ]:
        more = {"event_time_window": window} if window else {}
        meter = stripe.billing.Meter.create(
            display_name=event_name,
            event_name=event_name,
            default_aggregation={"formula": formula},
            customer_mapping={"type": "by_id", "event_payload_key": "stripe_customer_id"},
            value_settings={"event_payload_key": "value"},
            **more,
        )
        meters[event_name] = meter.id
        expect("meter", (meter.object, meter.status, meter.event_time_window), ("billing.meter", "active", window))
        expect("formula", meter.default_aggregation.formula, formula)
    renamed = stripe.billing.Meter.modify(meters["judged_sum"], display_name="Judged, added up")
    expect("a new name", (renamed.display_name, renamed.event_name), ("Judged, added up", "judged_sum"))
    expect("read back", stripe.billing.Meter.retrieve(renamed.id).display_name, "Judged, added up")
    twice = lambda: stripe.billing.Meter.create(
        display_name="x", event_name="judged_sum", default_aggregation={"formula": "count"}
    )
    expect_error("a name that is taken", INVALID, twice, http_status=400, param="event_name")
    off = stripe.billing.Meter.deactivate(meters["judged_sum"])
    expect("put away", (off.status, off.status_transitions.deactivated_at), ("inactive", NOVEMBER))
    expect("listed", [meter.id for meter in stripe.billing.Meter.list(status="inactive").data], [off.id])
    expect_error(
        "an event for it", INVALID, lambda: event("judged_sum", "cus_x", 1),
        user_message='No active meter found for event name "judged_sum"',
    )
    expect("back again", stripe.billing.Meter.reactivate(off.id).status, "active")
    return meters


def make_subscription(meters):
    product = stripe.Product.create(name="Magic Box Pro")
    recurring = {"interval": "month"}
    prices = [
        stripe.Price.create(product=product.id, currency="eur", unit_amount=19_900, recurring=recurring, lookup_key="base")
    ]
    for event_name, cents in [("judged_last", "4"), ("judged_days", "0.5"), ("judged_sum", "1")]:
        price = stripe.Price.create(
            product=product.id,
            currency="eur",
            unit_amount_decimal=Decimal(cents),
            recurring={**recurring, "usage_type": "metered", "meter": meters[event_name]},
            lookup_key=event_name,
        )
        expect("price on a meter", (price.recurring.meter, price.unit_amount_decimal), (meters[event_name], Decimal(cents)))
        prices.append(price)
    bare = lambda: stripe.Price.create(
        product=product.id, currency="eur", unit_amount=1, recurring={**recurring, "usage_type": "metered"}
    )
    expect_error("a metered price without a meter", INVALID, bare, param="recurring[meter]")
    customer = stripe.Customer.create(name="Judge", payment_method="pm_card_visa")
    subscription = stripe.Subscription.create(
        customer=customer.id,
        items=[{"price": price.id} for price in prices],
        billing_cycle_anchor_config={"day_of_month": 1, "hour": 0, "minute": 0, "second": 0},
    )
    expect("status", subscription.status, "active")
    read = stripe.Subscription.retrieve(subscription.id)
    periods = {(item.current_period_start, item.current_period_end) for item in read["items"].data}
    expect("periods sit on the items", periods, {(NOVEMBER, DECEMBER)})
    expect("and not on the subscription", "current_period_end" in read, False)
    stripe.Subscription.retrieve(subscription.id, expand=["customer"])
    items = stripe.SubscriptionItem.list(subscription=subscription.id, limit=100).data
    marked = stripe.SubscriptionItem.modify(items[1].id, metadata={"machine": "vm-1"})
    expect("a mark on an item", marked.metadata.to_dict(), {"machine": "vm-1"})
    stripe.SubscriptionItem.list(subscription=subscription.id, limit=100, starting_after=items[-1].id)
    return customer.id, subscription.id


def event(event_name, customer, value, **more):
    # An amount that is no text would be sent as one all the same.
    payload = {"stripe_customer_id": customer, "value": str(value)}
    return stripe.billing.MeterEvent.create(event_name=event_name, payload=payload, **more)


def summaries(meter, customer, start, end, **more):
    return stripe.billing.Meter.list_event_summaries(meter, customer=customer, start_time=start, end_time=end, **more)


def values(*arguments, **more):
    return [summary.aggregated_value for summary in summaries(*arguments, **more).auto_paging_iter()]


def judge_events(server, meters, customer):
    server.control("clock", set=NOVEMBER + 2 * DAY)
    now = NOVEMBER + 2 * DAY
    first = event("judged_last", customer, 100, identifier="last-1", timestamp=now - 60)
    expect("event", (first.object, first.identifier, first.created, first.timestamp), ("billing.meter_event", "last-1", now, now - 60))
    expect("its payload", first.payload.to_dict(), {"stripe_customer_id": customer, "value": "100"})
    expect("an identifier is drawn", len(event("judged_sum", customer, 3).identifier) > 10, True)
    again = lambda: event("judged_last", customer, 100, identifier="last-1", timestamp=now - 60)
    refused = expect_error(
        "a repeated identifier", INVALID, again, http_status=400, code=None,
        user_message="An event already exists with identifier last-1.",
    )
    expect("is not to be sent again", refused is not None and refused.headers["Stripe-Should-Retry"], "false")
    keyed = [
        event("judged_last", customer, 120, identifier="last-2", timestamp=now, idempotency_key="judge-1")
        for _ in range(2)
    ]
    expect("a replay says so", keyed[1].last_response.headers.get("Idempotent-Replayed"), "true")
    for what, call, fields in [
        ("no value", lambda: stripe.billing.MeterEvent.create(
            event_name="judged_last", payload={"stripe_customer_id": customer}), {"param": "payload"}),
        ("no customer", lambda: stripe.billing.MeterEvent.create(
            event_name="judged_last", payload={"value": "1"}), {"param": "payload"}),
        ("no number", lambda: event("judged_last", customer, "many"), {"param": "payload"}),
        ("too many digits", lambda: event("judged_last", customer, 10**15), {"param": "payload"}),
        ("too old", lambda: event("judged_last", customer, 1, timestamp=now - 35 * DAY - 1), {"param": "timestamp"}),
        ("too far ahead", lambda: event("judged_last", customer, 1, timestamp=now + 301), {"param": "timestamp"}),
        ("too long a name", lambda: event("judged_last", customer, 1, identifier="x" * 101), {"param": "identifier"}),
    ]:
        expect_error(what, INVALID, call, http_status=400, **fields)
    for identifier, value, timestamp in [
        ("day-1", 10, NOVEMBER + HOUR), ("day-2", 25, NOVEMBER + 2 * HOUR), ("day-3", 7, NOVEMBER + DAY),
    ]:
        event("judged_days", customer, value, identifier=identifier, timestamp=timestamp)
    for identifier, value in [("sum-1", 40), ("sum-2", 5)]:
        event("judged_sum", customer, value, identifier=identifier, timestamp=now)
    cancelled = stripe.billing.MeterEventAdjustment.create(
        event_name="judged_sum", type="cancel", cancel={"identifier": "sum-2"}
    )
    expect("cancelled", (cancelled.object, cancelled.type), ("billing.meter_event_adjustment", "cancel"))
    expect("which", cancelled.cancel.identifier, "sum-2")
    expect("of nobody, accepted", event("judged_sum", "cus_nobody", 9).object, "billing.meter_event")


def judge_summaries(server, meters, customer):
    whole = (customer, NOVEMBER, NOVEMBER + 3 * DAY)
    expect("last", values(meters["judged_last"], *whole), [120.0])
    expect("windows add up", values(meters["judged_days"], *whole), [32.0])
    expect("each day", values(meters["judged_days"], *whole, value_grouping_window="day"), [7.0, 25.0])
    expect("each hour", values(meters["judged_days"], *whole, value_grouping_window="hour", limit=2), [7.0, 25.0, 10.0])
    expect("sum", values(meters["judged_sum"], *whole), [43.0])
    one = summaries(meters["judged_sum"], *whole, limit=1).data[0]
    expect("summary", (one.object, one.meter), ("billing.meter_event_summary", meters["judged_sum"]))
    expect("its span", (one.start_time, one.end_time), (NOVEMBER, NOVEMBER + 3 * DAY))
    expect("nothing, no summary", values(meters["judged_sum"], customer, NOVEMBER, NOVEMBER + MINUTE), [])
    askew = lambda: summaries(meters["judged_sum"], customer, NOVEMBER + 1, NOVEMBER + MINUTE)
    expect_error("not on a minute", INVALID, askew, http_status=400, param="start_time")
    askew = lambda: summaries(meters["judged_sum"], customer, NOVEMBER, NOVEMBER + HOUR, value_grouping_window="day")
    expect_error("not on a day", INVALID, askew, http_status=400, param="end_time")
    server.control("behaviour", summary_lag_s=120)
    event("judged_sum", customer, 1, identifier="sum-3")
    expect("a lag hides it", values(meters["judged_sum"], *whole), [])
    server.control("clock", advance=120)
    expect("for so long", values(meters["judged_sum"], *whole), [44.0])
    server.control("behaviour", summary_lag_s=0)


def judge_permissions(server, meters, customer, subscription):
    may = ["billing_meter_event_write", "billing_meter_read", "subscription_read"]
    server.control("keys", key="rk_test_judge", permissions=may)
    key, stripe.api_key = stripe.api_key, "rk_test_judge"
    event("judged_last", customer, 121, identifier="last-3")
    expect("it reads", values(meters["judged_last"], customer, NOVEMBER, NOVEMBER + 3 * DAY), [121.0])
    stripe.Subscription.retrieve(subscription)
    off = lambda: stripe.billing.Meter.deactivate(meters["judged_last"])
    refused = expect_error("a restricted key changes a meter", stripe.PermissionError, off, http_status=403)
    expect("the permission is named", refused is not None and "rak_billing_meter_write" in str(refused), True)
    stripe.api_key = key


def judge_faults(server, customer):
    stripe.max_network_retries = 0
    path = "/v1/billing/meter_events"
    for effect, kind in [("lock_timeout", stripe.RateLimitError), ("error_before_commit", stripe.APIError)]:
        server.control("faults", method="POST", path=path, effect=effect)
        expect_error(f"fault {effect}", kind, lambda: event("judged_sum", customer, 50))
    # The SDK's own retries carry the same key: what was done before the cut is found again, not refused as repeated.
    stripe.max_network_retries = 2
    server.control("faults", method="POST", path=path, effect="cut_after_commit")
    found = event("judged_sum", customer, 2, identifier="sum-4")
    expect("a lost answer is found again", found.last_response.headers.get("Idempotent-Replayed"), "true")


def judge_restart(server, meters, customer):
    server.note_sent()
    server.stop(signal.SIGKILL)
    server.start(server.base.removeprefix("http://"))
    expect("events after kill -9", values(meters["judged_sum"], customer, NOVEMBER, NOVEMBER + 3 * DAY), [46.0])
    repeated = lambda: event("judged_sum", customer, 2, identifier="sum-4")
    expect_error("identifiers after kill -9", INVALID, repeated, http_status=400)


def lines(invoice):
    """Quantities and amounts by price; the SDK's own names for them."""
    return {line.pricing.price_details.price: (line.quantity, line.amount) for line in invoice.lines.data}


def judge_invoices(server, customer, subscription):
    prices = {price.id: price.lookup_key for price in stripe.Price.list(limit=10).data}
    named = lambda invoice: {prices[price]: line for price, line in lines(invoice).items()}
    # Days at half a cent: 32 of them are 16 cents.
    owed = {"base": (1, 19_900), "judged_last": (121, 484), "judged_days": (32, 16), "judged_sum": (46, 46)}
    preview = stripe.Invoice.create_preview(customer=customer, subscription=subscription)
    expect("preview", named(preview), owed)
    expect("its total", preview.amount_due, sum(amount for _, amount in owed.values()))
    server.control("clock", set=DECEMBER + HOUR - 1)
    drafts = stripe.Invoice.list(subscription=subscription, status="draft").data
    expect("a draft waits", len(drafts), 1)
    expect("of what was there", named(drafts[0])["judged_last"], (121, 484))
    event("judged_last", customer, 130, identifier="final", timestamp=DECEMBER - MINUTE)
    server.control("clock", set=DECEMBER + HOUR)
    final = stripe.Invoice.retrieve(drafts[0].id)
    owed["judged_last"] = (130, 520)
    total = sum(amount for _, amount in owed.values())
    expect("final", (final.status, final.total, final.amount_paid), ("paid", total, total))
    expect("its lines", named(final), owed)
    expect("whose", final.parent.subscription_details.subscription, subscription)
    expect("a later event", event("judged_last", customer, 200, timestamp=DECEMBER - 1).object, "billing.meter_event")
    expect("is accepted and not billed", named(stripe.Invoice.retrieve(final.id)), owed)
    expect("nor next time", named(stripe.Invoice.create_preview(subscription=subscription))["judged_last"], (0, 0))
    event("judged_sum", customer, 8, identifier="december")
    server.control("clock", advance=1)
    canceled = stripe.Subscription.cancel(subscription, invoice_now=True)
    expect("canceled", canceled.status, "canceled")
    rest = stripe.Invoice.list(subscription=subscription, limit=1).data[0]
    expect("billed at once", named(rest)["judged_sum"], (8, 8))


def judge_discounts():
    coupon = stripe.Coupon.create(id="JUDGED", percent_off=12.5, duration="forever", max_redemptions=5)
    expect("coupon", (coupon.id, coupon.percent_off, coupon.valid), ("JUDGED", 12.5, True))
    expect("listed", [one.id for one in stripe.Coupon.list().data], ["JUDGED"])
    expect_error(
        "a coupon again", INVALID, lambda: stripe.Coupon.create(id="JUDGED", percent_off=5), code="resource_already_exists"
    )
    code = stripe.PromotionCode.create(promotion={"type": "coupon", "coupon": "JUDGED"}, code="JUDGE")
    expect("promotion code", (code.object, code.promotion.coupon, code.active), ("promotion_code", "JUDGED", True))
    expect("by its word", [one.id for one in stripe.PromotionCode.list(code="judge").data], [code.id])
    customer = stripe.Customer.create(payment_method="pm_card_visa", metadata={"own": "judged"}).id
    found = stripe.Customer.search(query="metadata['own']:'judged'")
    expect("searched", [one.id for one in found.auto_paging_iter()], [customer])
    price = stripe.Price.list(lookup_keys=["base"]).data[0].id
    subscription = stripe.Subscription.create(
        customer=customer, items=[{"price": price}], discounts=[{"promotion_code": code.id}]
    )
    expect("its discounts", len(subscription.discounts), 1)
    invoice = stripe.Invoice.retrieve(subscription.latest_invoice)
    # 12.5 % of 199.
    expect("off", [(one.amount, one.discount) for one in invoice.total_discount_amounts], [(2_488, subscription.discounts[0])])
    expect("the rest is paid", (invoice.subtotal, invoice.total, invoice.status), (19_900, 17_412, "paid"))
    expect("upcoming", stripe.Invoice.create_preview(customer=customer).total, 17_412)
    expect("redeemed", stripe.Coupon.retrieve("JUDGED").times_redeemed, 1)
    expect("taken away", stripe.Coupon.delete("JUDGED").deleted, True)
    stripe.Subscription.cancel(subscription.id)


def judge_portal():
    price = stripe.Price.list(lookup_keys=["base"]).data[0]
    switching = {
        "enabled": True,
        "default_allowed_updates": ["price"],
        "products": [{"product": price.product, "prices": [price.id]}],
    }
    features = {"invoice_history": {"enabled": True}, "subscription_update": switching}
    configuration = stripe.billing_portal.Configuration.create(features=features)
    on = configuration.features
    expect("portal", (on.invoice_history.enabled, on.subscription_update.enabled), (True, True))
    expect("what else is off", on.payment_method_update.enabled, False)
    off = stripe.billing_portal.Configuration.modify(
        configuration.id, features={"subscription_update": {"enabled": False}}
    )
    expect("off again", off.features.subscription_update.enabled, False)
    customer = stripe.Customer.create(email="portal@example.com").id
    session = lambda **more: stripe.billing_portal.Session.create(
        customer=customer, return_url="https://example.com", **more
    )
    opened = session(configuration=configuration.id)
    expect("a way in", (opened.object, opened.url[:8]), ("billing_portal.session", "https://"))
    expect_error("without a configuration", INVALID, session, http_status=400)
    expect("account", stripe.Account.retrieve().charges_enabled, True)


def judge(server):
    server.control("clock", set=NOVEMBER, frozen=True)
    meters = make_meters()
    customer, subscription = make_subscription(meters)
    judge_events(server, meters, customer)
    judge_summaries(server, meters, customer)
    judge_permissions(server, meters, customer, subscription)
    judge_faults(server, customer)
    judge_discounts()
    judge_portal()
    judge_restart(server, meters, customer)
    judge_webhooks(server)
    judge_invoices(server, customer, subscription)


if __name__ == "__main__":
    judged(__doc__, judge)
