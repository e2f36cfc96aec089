//! Words to systemd. Outside of it they go nowhere.

use std::time::Duration;

use sd_notify::NotifyState;

/// The socket answers.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub(super) fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// Everything works, up to now.
pub(super) fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How long systemd waits for [`alive`] before it ends this process. `None` where it does not.
pub(super) fn patience() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The end has begun.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping: last sample, one push, then the end")]);
}

fn send(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        tracing::debug!("systemd was not told: {error}");
    }
}
