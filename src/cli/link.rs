use super::Exit;
use super::add::add;
use super::args::LinkArgs;
use super::client::PROVIDER;
use super::error::CliError;
use super::look::Look;
use super::run::Run;
use super::table::{Lean, table};
use super::words::moment;
use crate::wire::{LinkReport, LinkRequest};

pub(super) async fn link(run: &mut Run<'_>, args: LinkArgs) -> Result<Exit, CliError> {
    let request = LinkRequest {
        customer: args.customer,
        subscription: args.subscription,
        plan: args.plan,
        from: args.from.map(|from| from.start(run.now).to_string()),
        items: args.items.into_iter().collect(),
        on_top: args.on_top,
        from_next_period: args.from_next_period,
        single_writer: args.single_writer,
        shared: args.shared,
    };
    let said = run.client.post("/v1/link", &request, PROVIDER).await?;
    run.show(&said, screen).map(|_: LinkReport| Exit::Fine)
}

/// The screen.
pub(super) fn screen(report: &LinkReport, look: Look) -> String {
    let (customer, subscription, plan) = (&report.customer, &report.subscription, &report.plan);
    let mut text = format!("Billed to  {customer}, {subscription}, plan {plan}\n");
    add(&mut text, format_args!("From       {} UTC\n", moment(&report.from)));
    let here = look.here(&report.period_to).map(|here| format!("\nends {here}")).unwrap_or_default();
    let period = format!("{} to {} UTC{here}", moment(&report.period_from), moment(&report.period_to));
    add(&mut text, format_args!("Period     {}\n\n", look.wrap(11, &period)));
    let heading = ["METER", "ITEM", "PRICE", "STANDS"].map(str::to_owned);
    let lines = report.items.iter().map(|item| {
        let price = item.lookup_key.as_ref().unwrap_or(&item.price);
        [item.meter.clone(), item.item.clone(), price.clone(), item.stands.to_string()]
    });
    let lines: Vec<_> = std::iter::once(heading).chain(lines).collect();
    text += &table([Lean::Left, Lean::Left, Lean::Left, Lean::Right], &lines);
    for meter in &report.not_billed {
        add(&mut text, format_args!("Not billed: {}\n", look.wrap(12, meter)));
    }
    text
}
