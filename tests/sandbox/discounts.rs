//! Coupons, promotion codes, and what they take off invoices.

use super::*;

const CLOVER: &str = "2025-09-30.clover";
const FOREVER: [(&str, &str); 3] = [("id", "THIRTY"), ("percent_off", "30"), ("duration", "forever")];

async fn post_in(world: &World, version: &str, path: &str, pairs: &[(&str, &str)]) -> Answer {
    world.send(world.form(path, pairs).header("stripe-version", version)).await
}

async fn get_in(world: &World, version: &str, path: &str) -> Answer {
    world.send(world.request("GET", path).header("stripe-version", version)).await
}

/// Subscribes a new customer to the monthly price of the plan `pro`, and gives the subscription.
async fn subscribe(world: &World, discount: &[(&str, &str)]) -> Answer {
    let customer = world.post("/v1/customers", &[("payment_method", "pm_card_visa")]).await.id();
    let price = world.get("/v1/prices?lookup_keys[]=price_pro_monthly").await.json["data"][0]["id"].clone();
    let pairs = [("customer", customer.as_str()), ("items[0][price]", price.as_str().unwrap())];
    world.post("/v1/subscriptions", &[&pairs[..], discount].concat()).await
}

#[test]
fn a_coupon_says_how_much_it_takes_off_and_for_how_long() {
    run(|world| async move {
        for (pairs, param, message) in [
            (&[][..], "", "You must specify one of these parameters"),
            (&[("percent_off", "5"), ("amount_off", "5")], "", "You may only specify one of these parameters"),
            (&[("percent_off", "0")], "percent_off", "percent_off must be greater than 0"),
            (&[("percent_off", "100.5")], "percent_off", "percent_off must be greater than 0"),
            (&[("amount_off", "500")], "currency", "Missing required param: currency."),
            (&[("percent_off", "5"), ("duration", "repeating")], "duration_in_months", "Missing required param"),
            (&[("percent_off", "5"), ("duration", "ever")], "duration", "Invalid duration"),
            (&[("percent_off", "5"), ("redeem_by", "1735689600")], "redeem_by", "redeem_by must be in the future."),
            (&[("percent_off", "5"), ("colour", "red")], "colour", "Received unknown parameter: colour"),
            (&[("percent_off", "5"), ("applies_to[products][0]", "p")], "applies_to", "usaged sandbox: "),
        ] {
            let refused = world.post("/v1/coupons", pairs).await;
            assert_eq!((refused.status, refused.error("param")), (400, param), "{pairs:?}: {}", refused.text);
            assert!(refused.error("message").starts_with(message), "{}", refused.text);
        }
        let made = world.post("/v1/coupons", &FOREVER).await;
        assert_eq!(
            (made.id().as_str(), &made.json["percent_off"], &made.json["valid"]),
            ("THIRTY", &30.into(), &true.into())
        );
        let again = world.post("/v1/coupons", &FOREVER).await;
        assert_eq!((again.status, again.error("code")), (400, "resource_already_exists"));
        let terms = world.post("/v1/coupons/THIRTY", &[("percent_off", "40")]).await;
        assert_eq!(terms.error("code"), "parameter_unknown", "terms stay");
        assert_eq!(world.post("/v1/coupons/THIRTY", &[("name", "Early")]).await.json["name"], "Early");
    });
}

#[test]
fn a_discount_is_on_each_invoice_for_as_long_as_its_coupon_says() {
    run(|world| async move {
        world.post("/v1/coupons", &FOREVER).await;
        world.post("/v1/coupons", &[("id", "ONCE"), ("amount_off", "500"), ("currency", "eur")]).await;
        let months = [("id", "TWO"), ("percent_off", "50"), ("duration", "repeating"), ("duration_in_months", "2")];
        world.post("/v1/coupons", &months).await;
        for (coupon, totals) in [
            ("THIRTY", [13_930, 13_930, 13_930, 13_930]),
            ("ONCE", [19_400, 19_900, 19_900, 19_900]),
            ("TWO", [9_950, 9_950, 19_900, 19_900]),
        ] {
            let made = subscribe(&world, &[("coupon", coupon)]).await;
            assert_eq!(
                made.json["discount"]["coupon"]["id"].as_str(),
                Some(coupon).filter(|one| *one != "ONCE"),
                "{}",
                made.text
            );
            world.sandbox.advance(95 * DAY * 1_000_000).unwrap();
            let invoices = world.sandbox.invoices(&made.id()).unwrap();
            let found: Vec<_> = invoices.iter().map(|one| one["total"].as_i64().unwrap()).collect();
            assert_eq!(found, totals, "{coupon}");
            assert_eq!((&invoices[0]["subtotal"], &invoices[0]["status"]), (&19_900.into(), &"paid".into()));
            let off = &invoices[0]["total_discount_amounts"][0]["amount"];
            assert_eq!(off.as_i64(), Some(19_900 - totals[0]));
        }
    });
}

#[test]
fn a_coupon_is_redeemed_until_it_is_over_and_no_oftener_than_it_says() {
    run(|world| async move {
        let by = (now() + DAY).to_string();
        world.post("/v1/coupons", &[("id", "BRIEF"), ("percent_off", "5"), ("redeem_by", &by)]).await;
        world.post("/v1/coupons", &[("id", "RARE"), ("percent_off", "5"), ("max_redemptions", "1")]).await;
        world.post("/v1/coupons", &[("id", "OTHER"), ("amount_off", "5"), ("currency", "usd")]).await;
        assert_eq!(subscribe(&world, &[("coupon", "OTHER")]).await.error("param"), "coupon");
        assert_eq!(subscribe(&world, &[("coupon", "NONE")]).await.error("code"), "resource_missing");
        assert_eq!(subscribe(&world, &[("coupon", "RARE")]).await.status, 200);
        assert_eq!(subscribe(&world, &[("coupon", "RARE")]).await.error("code"), "coupon_expired");
        assert_eq!(world.get("/v1/coupons/RARE").await.json["times_redeemed"], 1);
        world.sandbox.advance(DAY * 1_000_000).unwrap();
        assert_eq!(subscribe(&world, &[("coupon", "BRIEF")]).await.error("code"), "coupon_expired");
    });
}

#[test]
fn a_promotion_code_names_its_coupon_as_the_version_says_and_is_of_one() {
    run(|world| async move {
        world.post("/v1/coupons", &FOREVER).await;
        let new = [("promotion[type]", "coupon"), ("promotion[coupon]", "THIRTY"), ("code", "EARLY")];
        let old = [("coupon", "THIRTY"), ("code", "LATE")];
        let path = "/v1/promotion_codes";
        assert_eq!(post_in(&world, CLOVER, path, &old).await.error("code"), "parameter_unknown");
        assert_eq!(world.post(path, &new).await.error("code"), "parameter_unknown");
        assert_eq!(world.post(path, &old).await.json["coupon"]["id"], "THIRTY");
        let made = post_in(&world, CLOVER, path, &new).await;
        assert_eq!((&made.json["promotion"]["coupon"], made.json.get("coupon")), (&"THIRTY".into(), None));
        let twice = world.post(path, &[("coupon", "THIRTY"), ("code", "early")]).await;
        assert_eq!((twice.status, twice.error("param")), (400, "code"), "case does not matter: {}", twice.text);
        let listed = get_in(&world, CLOVER, &format!("{path}?code=early&active=true")).await;
        assert_eq!(listed.json["data"].as_array().unwrap().len(), 1);
        let subscribed = subscribe(&world, &[("discounts[0][promotion_code]", &made.id())]).await;
        assert_eq!(subscribed.json["discount"]["promotion_code"], made.id());
        world.post(&format!("{path}/{}", made.id()), &[("active", "false")]).await;
        let refused = subscribe(&world, &[("promotion_code", &made.id())]).await;
        assert!(refused.error("message").starts_with("This promotion code cannot be redeemed"), "{}", refused.text);
    });
}

#[test]
fn from_basil_on_a_coupon_stands_in_the_list_of_discounts_alone() {
    run(|world| async move {
        world.post("/v1/coupons", &FOREVER).await;
        let price = world.get("/v1/prices?lookup_keys[]=price_pro_monthly").await.json["data"][0]["id"].clone();
        let pairs = [("customer", world.demo.customer.as_str()), ("items[0][price]", price.as_str().unwrap())];
        let alone = post_in(&world, CLOVER, "/v1/subscriptions", &[&pairs[..], &[("coupon", "THIRTY")]].concat()).await;
        assert_eq!((alone.error("code"), alone.error("param")), ("parameter_unknown", "coupon"));
        let listed = [&pairs[..], &[("discounts[0][coupon]", "THIRTY")]].concat();
        let made = post_in(&world, CLOVER, "/v1/subscriptions", &listed).await;
        assert!(made.json["discounts"][0].as_str().unwrap().starts_with("di_"), "{}", made.text);
        assert_eq!(made.json.get("discount"), None);
    });
}

#[test]
fn customers_are_searched_by_one_field_of_their_metadata() {
    run(|world| async move {
        let made = world.post("/v1/customers", &[("metadata[own]", "c-1")]).await.id();
        let path = |query: &str| {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
            format!("/v1/customers/search?{query}")
        };
        let found = world.get(&path("metadata['own']:'c-1'")).await.json;
        assert_eq!((&found["object"], &found["data"][0]["id"]), (&"search_result".into(), &made.into()));
        assert_eq!(world.get(&path("metadata[\"own\"]:\"c-2\"")).await.json["data"], serde_json::json!([]));
        let other = world.get(&path("email:'a@example.com'")).await;
        assert!(other.status == 400 && other.error("message").starts_with("usaged sandbox: "), "{}", other.text);
        assert_eq!(world.get("/v1/customers/search").await.error("code"), "parameter_missing");
    });
}
