use crate::cli::Exit;
use crate::cli::error::CliError;
use crate::cli::look::Look;
use crate::model::Timestamp;
use crate::operator::{self, Catalog, Coupon, CouponReport, Duration, NewPromotion, PromotionReport};

use super::args::{CouponArgs, DurationArg, PromotionArgs, Terms};
use super::session::{Session, heading};

pub(super) async fn create(session: &mut Session<'_>, terms: &Terms, args: CouponArgs) -> Result<Exit, CliError> {
    let (catalog, caller) = session.begin(terms)?;
    let id = args.coupon.clone();
    let coupon = wanted(&catalog, args, (session.clock)().wall);
    let report = caller.report(operator::create_coupon(&caller, &catalog, &id, &coupon).await?);
    session.show(terms, &report, |report, look| heading(&caller) + &screen(report, look))?;
    Ok(Exit::Fine)
}

/// The catalog's terms, and over them what the command line says.
fn wanted(catalog: &Catalog, args: CouponArgs, now: Timestamp) -> Coupon {
    let known = catalog.coupons.get(&args.coupon).cloned().unwrap_or_default();
    let is_repriced = args.percent_off.is_some() || args.amount_off.is_some();
    let duration = args.duration.map(|duration| match duration {
        DurationArg::Once => Duration::Once,
        DurationArg::Repeating => Duration::Repeating,
        DurationArg::Forever => Duration::Forever,
    });
    Coupon {
        name: args.name.or(known.name),
        percent_off: if is_repriced { args.percent_off } else { known.percent_off },
        amount_off: if is_repriced { args.amount_off } else { known.amount_off },
        duration: duration.unwrap_or(known.duration),
        months: args.months.or(known.months),
        redeem_by: args.redeem_by.map(|by| by.end(now).secs()).or(known.redeem_by),
        max_redemptions: args.max_redemptions.or(known.max_redemptions),
        description: args.description.or(known.description),
    }
}

pub(super) async fn create_promotion(
    session: &mut Session<'_>,
    terms: &Terms,
    args: PromotionArgs,
) -> Result<Exit, CliError> {
    let (_, caller) = session.begin(terms)?;
    let PromotionArgs { code, coupon, max_redemptions, expires_at } = args;
    let now = (session.clock)().wall;
    let expires_at = expires_at.map(|at| at.end(now));
    let new = NewPromotion { code, coupon, max_redemptions, expires_at };
    let report = caller.report(operator::create_promotion(&caller, &new).await?);
    session.show(terms, &report, |report, look| heading(&caller) + &promotion_screen(report, look))?;
    Ok(Exit::Fine)
}

/// The screen.
fn screen(report: &CouponReport, look: Look) -> String {
    let sentence = look.wrap(10, &format!("{}: {}", report.coupon, report.terms));
    format!("Coupon    {sentence}\n{}", made(report.created))
}

/// The screen.
fn promotion_screen(report: &PromotionReport, _: Look) -> String {
    let PromotionReport { created, promotion_code, code, coupon } = report;
    format!("Code      {code}, {promotion_code}, for the coupon {coupon}\n{}", made(*created))
}

fn made(created: bool) -> &'static str {
    if created { "Created.\n" } else { "It was there; nothing to do.\n" }
}
