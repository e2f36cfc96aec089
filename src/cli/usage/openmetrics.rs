//! OpenMetrics text whose samples carry their times, as `promtool tsdb create-blocks-from openmetrics` takes it. Each
//! sample stands where its piece of time begins, so that the last one, which goes on, does not lie ahead.

use super::rows::{rows, share};
use crate::cli::add::add;
use crate::model::Timestamp;
use crate::wire::{By, UsageReport};

pub(super) fn text(report: &UsageReport) -> String {
    let by = report.by.map_or("period", By::word);
    let mut used = String::from(
        "# HELP usaged_used Used in the hour, day, month or period that begins then, in the unit of the meter.\n\
         # TYPE usaged_used gauge\n",
    );
    let mut coverage = String::from(
        "# HELP usaged_coverage_ratio_by Watched share of the hour, day, month or period that begins then.\n\
         # TYPE usaged_coverage_ratio_by gauge\n",
    );
    let first = report.meters.first().map(|meter| meter.name.as_str());
    for row in rows(report) {
        let Ok(begins) = Timestamp::parse(row.from).map(Timestamp::secs) else { continue };
        let (meter, unit) = (label(row.meter), label(row.unit));
        add(
            &mut used,
            format_args!("usaged_used{{meter=\"{meter}\",unit=\"{unit}\",by=\"{by}\"}} {} {begins}\n", row.used),
        );
        // One timeline for the whole machine.
        if Some(row.meter) == first {
            let share = share(row.observed_bp);
            add(&mut coverage, format_args!("usaged_coverage_ratio_by{{by=\"{by}\"}} {share} {begins}\n"));
        }
    }
    used + &coverage + "# EOF\n"
}

fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_ends_where_it_should() {
        assert_eq!(label("cred\"its\\\n"), "cred\\\"its\\\\\\n");
    }
}
