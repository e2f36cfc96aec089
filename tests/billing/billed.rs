//! Rule R5: what invoices and the preview bill on an item, read from a Stripe with books of its own, by both versions.

use usaged::config::{ApiKey, ProviderKind};
use usaged::model::{ItemId, PriceId, Span, SubscriptionId, Timestamp};
use usaged::provider::{BilledAt, Provider, ReadError};

use crate::vm::{DAY, Vm, run};

fn provider(vm: &Vm, kind: ProviderKind, key: &str) -> Provider {
    let mut config = vm.context().settings().config.provider.clone();
    config.kind = kind;
    config.key = Some(ApiKey { secret: key.into(), from: "test".into() });
    Provider::new(&config).unwrap()
}

async fn billed(vm: &Vm, key: &str, price: &str, (from, to): (&str, &str)) -> Vec<Result<i64, ReadError>> {
    let billed = BilledAt {
        subscription: SubscriptionId::new(&*vm.demo.subscription).unwrap(),
        item: ItemId::new(&*vm.demo.item_api).unwrap(),
        price: Some(PriceId::new(price).unwrap()),
        period: Span::new(Timestamp::parse(from).unwrap(), Timestamp::parse(to).unwrap()),
    };
    let mut found = Vec::new();
    for kind in [ProviderKind::StripeUsageRecords, ProviderKind::StripeMeters] {
        found.push(provider(vm, kind, key).read_billed(&billed).await.value);
    }
    found
}

#[test]
fn r5_what_is_billed_is_found_in_the_preview_then_in_the_invoice() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-10T12:00:00Z", "").await;
        vm.start().await;
        let (key, item) = (vm.demo.agent_key.clone(), vm.demo.item_api.clone());
        let price = vm.demo.prices["price_api_overage"].clone();
        vm.run(DAY);
        vm.write_behind(&item, 7, vm.now().secs()).await;
        let (november, december, january) = ("2026-11-10T12:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
        let (november, both, december) = ((november, december), (november, january), (december, january));
        assert_eq!(billed(&vm, &key, &price, november).await, [Ok(7), Ok(7)], "in the preview");
        assert_eq!(billed(&vm, &key, "price_other", november).await, [Ok(0), Ok(0)]);
        vm.run(25 * DAY);
        vm.write_behind(&item, 4, vm.now().secs()).await;
        assert_eq!(billed(&vm, &key, &price, both).await, [Ok(11), Ok(11)], "in the invoice and the preview");
        assert_eq!(billed(&vm, &key, &price, december).await, [Ok(4), Ok(4)], "the earlier period's are not counted");
        assert_eq!(billed(&vm, &key, &price, november).await, [Ok(7), Ok(7)], "nor are the later one's");
    });
}
