use rust_decimal::Decimal;

use crate::wire::UsageReport;

/// One meter in one piece of time, or in the whole.
pub(super) struct Row<'r> {
    pub(super) from: &'r str,
    pub(super) to: &'r str,
    pub(super) meter: &'r str,
    pub(super) unit: &'r str,
    pub(super) used: String,
    pub(super) used_micros: i64,
    pub(super) observed_bp: u32,
}

/// Every row, meter by meter and then by time.
pub(super) fn rows(report: &UsageReport) -> impl Iterator<Item = Row<'_>> {
    report.meters.iter().flat_map(move |meter| {
        let whole = (&report.period_from, &report.period_to, &meter.used, meter.used_micros, report.observed_bp);
        let whole = Some(whole).filter(|_| report.by.is_none());
        let pieces = report.slices.iter().filter_map(|slice| {
            let one = slice.meters.iter().find(|one| one.name == meter.name)?;
            Some((&slice.from, &slice.to, &one.used, one.used_micros, slice.observed_bp))
        });
        whole.into_iter().chain(pieces).map(|(from, to, used, used_micros, observed_bp)| Row {
            from,
            to,
            meter: &meter.name,
            unit: &meter.unit,
            used: plain(used),
            used_micros,
            observed_bp,
        })
    })
}

/// As programs read it: JSON writes what is very small with an exponent.
fn plain(number: &serde_json::Number) -> String {
    let text = number.to_string();
    Decimal::from_scientific(&text).map_or(text, |plain| plain.normalize().to_string())
}

/// Parts in ten thousand as a share of one.
pub(super) fn share(parts: u32) -> String {
    Decimal::new(parts.into(), 4).normalize().to_string()
}
