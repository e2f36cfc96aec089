//! Words to systemd. Outside of it they go nowhere.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use sd_notify::NotifyState;

/// The name under which systemd keeps the socket.
const SOCKET: &str = "api";

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

/// The socket that systemd kept open while this service restarted.
pub(super) fn kept_socket() -> Option<UnixListener> {
    let listener = ListenFd::from_env().take_unix_listener(0).ok()??;
    // Not for the children of this process.
    fcntl_setfd(&listener, FdFlags::CLOEXEC).ok()?;
    Some(listener)
}

/// Whether a systemd listens.
pub(super) fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Asks systemd to keep the socket open while this service restarts, however it ends (`FileDescriptorStoreMax=`).
pub(super) fn keep_socket(listener: &UnixListener) {
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(SOCKET)]);
    let words = [NotifyState::FdStore, NotifyState::FdName(SOCKET)];
    if let Err(error) = sd_notify::notify_with_fds(&words, &[listener.as_fd()]) {
        tracing::warn!("systemd does not keep the socket over restarts: {error}");
    }
}

fn send(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        tracing::debug!("systemd was not told: {error}");
    }
}
