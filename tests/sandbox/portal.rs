//! The portal's configurations, and the way in.

use super::*;

const CONFIGURATIONS: &str = "/v1/billing_portal/configurations";
const SESSIONS: &str = "/v1/billing_portal/sessions";
const HISTORY: (&str, &str) = ("features[invoice_history][enabled]", "true");

#[test]
fn to_switch_needs_products_and_their_active_prices() {
    run(|world| async move {
        assert_eq!(world.post(CONFIGURATIONS, &[]).await.error("param"), "features");
        let at = |name: &str| format!("features[subscription_update]{name}");
        let (on, updates) = (at("[enabled]"), at("[default_allowed_updates][0]"));
        let (product, price) = (at("[products][0][product]"), at("[products][0][prices][0]"));
        let starter = world.get("/v1/prices?lookup_keys[]=price_starter_monthly").await.json["data"][0]["id"].clone();
        let starter = starter.as_str().unwrap();
        let all = [(&*on, "true"), (&*updates, "price"), (&*product, "prod_magicbox_starter"), (&*price, starter)];
        for (count, missing) in [(1, "[default_allowed_updates]"), (2, "[products]"), (3, "[products][0][prices]")] {
            let refused = world.post(CONFIGURATIONS, &all[..count]).await;
            assert_eq!((refused.error("code"), refused.error("param")), ("parameter_missing", at(missing).as_str()));
        }
        let other = [all[0], all[1], (&*product, "prod_magicbox_pro"), all[3]];
        let refused = world.post(CONFIGURATIONS, &other).await;
        assert!(refused.error("message").contains("is not an active recurring price"), "{}", refused.text);
        let made = world.post(CONFIGURATIONS, &[&all[..], &[HISTORY]].concat()).await;
        assert_eq!(made.json["features"]["subscription_update"]["products"][0]["prices"][0], starter);
        assert_eq!(made.json["features"]["subscription_cancel"]["enabled"], false);
        let path = format!("{CONFIGURATIONS}/{}", made.id());
        let off = world.post(&path, &[(on.as_str(), "false")]).await;
        assert_eq!(off.json["features"]["subscription_update"]["enabled"], false);
        assert_eq!(off.json["features"]["invoice_history"]["enabled"], true, "what is left out stays");
        let expanded = format!("{CONFIGURATIONS}?expand[]=data.features.subscription_update.products");
        assert_eq!(world.get(&expanded).await.json["data"][0]["id"], made.id());
    });
}

#[test]
fn a_session_is_of_a_customer_and_an_active_configuration() {
    run(|world| async move {
        let customer = ("customer", world.demo.customer.as_str());
        let none = world.post(SESSIONS, &[customer]).await;
        assert!(none.error("message").starts_with("No configuration provided"), "{}", none.text);
        let made = world.post(CONFIGURATIONS, &[HISTORY, ("default_return_url", "https://example.com")]).await;
        let configuration = made.id();
        let of = ("configuration", configuration.as_str());
        let session = world.post(SESSIONS, &[customer, of]).await;
        assert!(session.json["url"].as_str().unwrap().starts_with("https://billing.stripe.com/p/session/test_"));
        assert_eq!(session.json["return_url"], "https://example.com");
        let bad = world.post(SESSIONS, &[customer, of, ("return_url", "example")]).await;
        assert_eq!((bad.error("code"), bad.error("param")), ("url_invalid", "return_url"));
        assert_eq!(world.post(SESSIONS, &[("customer", "cus_none"), of]).await.error("code"), "resource_missing");
        world.post(&format!("{CONFIGURATIONS}/{configuration}"), &[("active", "false")]).await;
        assert_eq!(world.post(SESSIONS, &[customer, of]).await.error("param"), "configuration");
        assert_eq!(world.get("/v1/account").await.json["object"], "account");
    });
}
