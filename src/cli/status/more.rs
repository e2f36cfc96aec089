//! What `-v` adds: where things lie, by what keys and clocks it goes, and what runs when.

use super::{line, moment_or};
use crate::cli::add::add;
use crate::cli::look::{Ink, Look};
use crate::cli::words::bytes;
use crate::wire::{JobStatus, Status};

pub(super) fn screen(status: &Status, look: Look) -> String {
    let mut text = String::from("\n");
    let database = &status.database;
    text +=
        &line(look, "Database", &format!("{}\n{}, schema {}", database.path, bytes(database.bytes), database.schema));
    if let Some(paths) = &status.paths {
        text += &line(
            look,
            "Paths",
            &format!("{}\n{}", paths.config.as_deref().unwrap_or("no configuration file"), paths.socket),
        );
    }
    if let Some(provider) = &status.provider {
        let key = provider.key.as_ref().map_or_else(|| "no key".to_owned(), |key| format!("key {key}"));
        text += &line(look, "Provider", &format!("{}, {key}", provider.kind));
    }
    if let Some(set) = status.clock.set_by_timesync {
        let sync = if set { "systemd-timesyncd has set it in this boot" } else { "not set by systemd-timesyncd" };
        text += &line(look, "Clock sync", sync);
    }
    if let Some(identity) = &status.identity {
        let known = |id: &Option<String>| id.clone().unwrap_or_else(|| "not known".to_owned());
        let (machine, product) = (known(&identity.machine_id), known(&identity.product_uuid));
        text += &line(look, "Identity", &format!("machine {machine}\nproduct {product}\nboot    {}", identity.boot_id));
    }
    text += &line(look, "Process", &format!("pid {}, a sample every {} s", status.pid, status.sample_every_s));
    for job in &status.jobs {
        add(&mut text, format_args!("\n{}", schedule(job, status, look)));
    }
    text
}

fn schedule(job: &JobStatus, status: &Status, look: Look) -> String {
    let mut text = look.paint(Ink::Bold, &job.name);
    if let Some(cron) = &job.schedule {
        add(&mut text, format_args!("  {cron}"));
    }
    text.push('\n');
    let last = moment_or(&status.now, job.last_at.as_ref(), "never");
    let because = job.last_because.as_ref().map(|because| format!(", {because}")).unwrap_or_default();
    let result = job.last_result.as_ref().map(|result| format!("\n{result}")).unwrap_or_default();
    text += &line(look, "  last", &format!("{last}{because}{result}"));
    text + &line(look, "  next", &moment_or(&status.now, job.next_at.as_ref(), "none planned"))
}
