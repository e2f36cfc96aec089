//! Words to systemd. Outside of it they go nowhere.

use sd_notify::NotifyState;

/// The socket answers.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub(super) fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// The end has begun.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        tracing::debug!("systemd was not told: {error}");
    }
}
