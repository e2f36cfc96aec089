use crate::cli::Exit;
use crate::cli::add::add;
use crate::cli::error::CliError;
use crate::cli::look::Look;
use crate::cli::table::{Lean, table};
use crate::cli::words::moment;
use crate::operator::{self, Discount, Ending, ItemView, NewSubscription, SubscriptionReport, SubscriptionView};

use super::args::{CancelArgs, SubscriptionArgs, SubscriptionCommand, Terms};
use super::session::{Session, heading};

pub(super) async fn subscription(
    session: &mut Session<'_>,
    terms: &Terms,
    command: SubscriptionCommand,
) -> Result<Exit, CliError> {
    let (catalog, caller) = session.begin(terms)?;
    let report = match command {
        SubscriptionCommand::Create(args) => operator::create_subscription(&caller, &catalog, &wanted(args)).await?,
        SubscriptionCommand::Show { subscription } => operator::show_subscription(&caller, &subscription).await?,
        SubscriptionCommand::Cancel(args) => {
            operator::cancel_subscription(&caller, &args.subscription, ending(&args)).await?
        }
    };
    session.show(terms, &caller.report(report), |report, look| heading(&caller) + &screen(report, look))?;
    Ok(Exit::Fine)
}

fn wanted(args: SubscriptionArgs) -> NewSubscription {
    let coupon = args.coupon.map(Discount::Coupon);
    NewSubscription {
        customer: args.customer,
        plan: args.plan,
        annual: args.annual,
        first_of_month: args.first_of_month,
        discount: coupon.or(args.promotion_code.map(Discount::PromotionCode)),
        charge_now: args.charge_now,
    }
}

/// One of the three is given; the command line sees to that.
fn ending(args: &CancelArgs) -> Ending {
    match (args.at_period_end, args.invoice_now) {
        (true, _) => Ending::AtPeriodEnd,
        (false, true) => Ending::NowInvoiced,
        (false, false) => Ending::NowUnbilled,
    }
}

/// The screen.
fn screen(report: &SubscriptionReport, look: Look) -> String {
    let mut text = String::new();
    for one in &report.subscriptions {
        text += &of_one(one, look);
    }
    if let (Some(link), Some(one)) = (&report.link, report.subscriptions.first()) {
        let customer = &one.customer;
        add(
            &mut text,
            format_args!("On the VM:\n  sudo usagectl link --customer {customer} \\\n    --subscription {link}\n"),
        );
    }
    text
}

fn of_one(one: &SubscriptionView, look: Look) -> String {
    let mut text = format!("Subscription  {} of {}\n", one.subscription, one.customer);
    let made = match one.created {
        Some(true) => ", created",
        Some(false) => "; it was there",
        None => "",
    };
    let ends = if one.cancel_at_period_end { ", ends with its period" } else { "" };
    add(&mut text, format_args!("Status        {}{ends}{made}\n", one.status));
    let heading = ["ITEM", "PRICE", "UNTIL (UTC)"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heading).chain(one.items.iter().map(line)).collect();
    text += &table([Lean::Left; 3], &lines);
    if let Some(secret) = &one.client_secret {
        let sentence = "It begins when the customer has paid. A page lets them, with this client secret:";
        add(&mut text, format_args!("{}\n  {secret}\n", look.wrap(0, sentence)));
    }
    text
}

fn line(item: &ItemView) -> [String; 3] {
    let until = item.period_to.map(|to| moment(&to.to_string()).chars().take(10).collect::<String>());
    [item.item.clone(), item.price.clone(), until.unwrap_or_default()]
}
