use super::Exit;
use super::add::add;
use super::args::PrepareImageArgs;
use super::client::PROVIDER;
use super::error::CliError;
use super::look::Look;
use super::run::Run;
use crate::wire::{PrepareImageReport, PrepareImageRequest};

/// What is left to do, in commands that can be copied.
const NEXT: &str = "\
next, before the image is taken, move that file away, and:
  sudo rm -f /etc/usaged/stripe_api_key
  sudo sed -i '/^STRIPE_/d' /etc/usaged/usaged.env
  sudo truncate -s 0 /etc/machine-id
Each copy then gets a key, ids and a machine id of its own. usaged has stopped;
it begins anew when a copy boots, or here by: sudo systemctl start usaged
";

pub(super) async fn prepare_image(run: &mut Run<'_>, args: PrepareImageArgs) -> Result<Exit, CliError> {
    let request = PrepareImageRequest { because: args.because };
    let said = run.client.post("/v1/prepare-image", &request, PROVIDER).await?;
    run.show(&said, screen).map(|_: PrepareImageReport| Exit::Fine)
}

/// The screen.
pub(super) fn screen(report: &PrepareImageReport, look: Look) -> String {
    let mut text = String::new();
    if let Some(subscription) = &report.unlinked {
        add(&mut text, format_args!("unlinked from {subscription}\n"));
    }
    for (what, lines) in [("never sent", &report.unsent), ("still marked as this VM's", &report.still_claimed)] {
        for line in lines {
            add(&mut text, format_args!("{}\n", look.wrap(2, &format!("{what}: {line}"))));
        }
    }
    add(&mut text, format_args!("the ledger was set aside as\n  {}\n\n", report.set_aside));
    text + NEXT
}
