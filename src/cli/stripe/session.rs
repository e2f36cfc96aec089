use std::io::Write;

use serde::Serialize;

use crate::cli::add::add;
use crate::cli::error::CliError;
use crate::cli::look::Look;
use crate::cli::random_id::random_id;
use crate::clock::Reading;
use crate::config::{ApiKey, Environment};
use crate::operator::{Caller, Catalog, Kind, Names, OperatorError, Report, Request};

use super::args::Terms;

const API_BASE: &str = "https://api.stripe.com";

/// One run: everything a command needs.
pub(in crate::cli) struct Session<'a> {
    pub(in crate::cli) environment: &'a Environment,
    pub(in crate::cli) clock: fn() -> Reading,
    pub(in crate::cli) json: bool,
    pub(in crate::cli) look: Look,
    pub(in crate::cli) out: &'a mut dyn Write,
    pub(in crate::cli) err: &'a mut dyn Write,
}

impl Session<'_> {
    /// The catalog in force, and somebody to ask Stripe.
    pub(super) fn begin(&self, terms: &Terms) -> Result<(Catalog, Caller), CliError> {
        let catalog = Catalog::load(terms.catalog.as_deref())?.of_kind(terms.kind.map(Kind::from));
        let key = self.environment.variable("STRIPE_API_KEY").ok_or_else(OperatorError::no_key)?;
        let key = ApiKey { secret: key.into(), from: "environment STRIPE_API_KEY".to_owned() };
        let base = self.environment.variable("STRIPE_API_BASE");
        let base = base.as_deref().unwrap_or(API_BASE);
        let run = random_id().map_err(CliError::Start)?;
        let caller = Caller::new(&key, base, catalog.kind, terms.dry_run, run)?;
        Ok((catalog, caller))
    }

    /// Shows the command's answer: as JSON, as an id, or as a screen; in a dry run as what was not sent.
    pub(super) fn show<T: Serialize + Names>(
        &mut self,
        terms: &Terms,
        report: &Report<T>,
        screen: impl FnOnce(&T, Look) -> String,
    ) -> Result<(), CliError> {
        if self.json {
            let json = serde_json::to_string(report).map_err(std::io::Error::from)?;
            return self.print(&format!("{json}\n"));
        }
        if terms.quiet {
            let named = report.body.named().map(|named| format!("{named}\n"));
            return self.print(&named.unwrap_or_default());
        }
        if report.dry_run && !report.requests.is_empty() {
            return self.print(&self.look.plain(&requests(&report.requests)));
        }
        self.print(&self.look.plain(&screen(&report.body, self.look)))
    }

    /// Writes to stdout. A reader that has seen enough is no fault.
    pub(super) fn print(&mut self, text: &str) -> Result<(), CliError> {
        crate::cli::run::write(self.out, text.as_bytes())
    }

    /// A step of several, on stderr.
    pub(super) fn progress(&mut self, text: &str) {
        // Where stderr is gone, the work goes on.
        _ = writeln!(self.err, "{text}").is_ok();
    }
}

/// Requests that were not sent.
fn requests(requests: &[Request]) -> String {
    let mut text = String::from("Nothing was changed. It would send:\n");
    for request in requests {
        add(&mut text, format_args!("  {} {}\n", request.method, request.path));
        for (name, value) in &request.form {
            add(&mut text, format_args!("    {name}={value}\n"));
        }
    }
    text
}

/// What is spoken to, as the first line of a screen.
pub(super) fn heading(caller: &Caller) -> String {
    let api = caller.api();
    let mode = if api.livemode() { "live mode" } else { "test mode" };
    format!("Stripe, {mode}, {} ({}), {}\n", api.host(), api.key_kind(), api.version())
}
