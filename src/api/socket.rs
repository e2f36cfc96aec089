use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::accounts::gid_of;
use crate::wire::RECORD_GROUP;

/// Root, the daemon's own user, and the group that may record. Who may command is judged by [`super::Access`].
const SOCKET_MODE: u32 = 0o660;
const DIRECTORY_MODE: u32 = 0o755;

/// Why the socket was not opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A live daemon answers there.
    #[error(
        "another usaged already answers on {path}\nhint: usagectl --socket {path} status shows it; stop it first, or choose another runtime directory"
    )]
    InUse {
        /// Which socket.
        path: PathBuf,
    },
    /// Something else lies there.
    #[error("{path} is not a socket; it was not touched\nhint: move it away, or choose another runtime directory")]
    NotASocket {
        /// Which path.
        path: PathBuf,
    },
    /// Longer than the system takes.
    #[error(
        "the socket path {path} is longer than the 107 bytes Linux takes\nhint: choose a shorter runtime directory"
    )]
    TooLong {
        /// Which path.
        path: PathBuf,
    },
    /// The directory cannot be made or used.
    #[error("cannot use the directory of the socket {path}: {source}\nhint: create it writable for this user")]
    Directory {
        /// Which socket.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot listen on {path}: {source}")]
    Listen {
        /// Which socket.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// A listening socket that takes its file away when it goes.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// `None` where the file stays, since somebody keeps the socket open.
    file: Option<(u64, u64)>,
}

impl Socket {
    /// The same socket once more, for whoever keeps it open while this daemon restarts: callers then wait instead of
    /// finding nobody. From now on the file stays.
    ///
    /// # Errors
    /// There is no room for another file descriptor.
    pub fn to_be_kept(&mut self) -> io::Result<net::UnixListener> {
        let kept = net::UnixListener::from(self.listener.as_fd().try_clone_to_owned()?);
        self.file = None;
        Ok(kept)
    }

    /// Nobody keeps it open: its file goes with it.
    #[must_use]
    pub fn kept_by_nobody(mut self) -> Self {
        self.file = identity(&self.path).ok();
        self
    }
}

impl Drop for Socket {
    /// Only its own file: should somebody have replaced it, theirs stays.
    fn drop(&mut self) {
        if self.file.is_some()
            && identity(&self.path).ok() == self.file
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "the socket file stays; the next start replaces it");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Listens on a path. Refuses where somebody answers; a socket file on which nobody does is replaced.
pub async fn bind(path: &Path) -> Result<Socket, BindError> {
    let directory = |source| BindError::Directory { path: path.into(), source };
    let listen = |source| BindError::Listen { path: path.into(), source };
    if path.as_os_str().len() > 107 {
        return Err(BindError::TooLong { path: path.into() });
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent).map_err(directory)?;
    // Looking and replacing under one lock: of two starts at once, the second finds the first one's live socket.
    let _lock = lock_beside(path).map_err(directory)?;
    clear(path).await?;
    let listener = UnixListener::bind(path).map_err(listen)?;
    let_in(path).map_err(listen)?;
    let file = Some(identity(path).map_err(listen)?);
    Ok(Socket { listener, path: path.into(), file })
}

/// Takes over a socket that was kept open since an earlier process bound it, unless it is another one, or its file is
/// gone, so that nobody would find it.
#[must_use]
pub fn take_over(kept: net::UnixListener, path: &Path) -> Option<Socket> {
    let is_bound_here = kept.local_addr().is_ok_and(|address| address.as_pathname() == Some(path));
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_bound_here || !is_socket {
        return None;
    }
    let taken = kept.set_nonblocking(true).and_then(|()| let_in(path)).and_then(|()| UnixListener::from_std(kept));
    let listener = taken.inspect_err(|error| tracing::warn!(%error, "cannot take over the socket; it is made anew"));
    Some(Socket { listener: listener.ok()?, path: path.into(), file: None })
}

/// Where there is no such group, or it may not be given one, the file belongs to the daemon's own.
fn let_in(path: &Path) -> io::Result<()> {
    if let Some(gid) = gid_of(RECORD_GROUP)
        && let Err(error) = chown(path, None, Some(gid))
    {
        tracing::debug!(%error, "the socket does not belong to the group {RECORD_GROUP}");
    }
    std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
}

/// A file of its own that only this user can open: anybody could hold a lock on the directory and keep us from starting.
fn lock_beside(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(name)?;
    lock.lock()?;
    Ok(lock)
}

async fn clear(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BindError::Directory { path: path.into(), source }),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket { path: path.into() }),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        // The one answer that proves that nobody listens; any other, a full queue too, means somebody may.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| BindError::Directory { path: path.into(), source })
        }
        _ => Err(BindError::InUse { path: path.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_use_by_a_live_daemon_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/usaged.sock");
        let first = bind(&path).await.unwrap();
        let refused = bind(&path).await.unwrap_err();
        assert!(matches!(refused, BindError::InUse { .. }), "{refused:?}");
        assert!(refused.to_string().contains(path.to_str().unwrap()));
        UnixStream::connect(&path).await.expect("the first one still answers");
        drop(first);
        assert!(!path.exists(), "a socket that goes takes its file away");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usaged.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = bind(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
    }

    /// The kernel holds who comes meanwhile in the queue of a socket that is open somewhere.
    #[tokio::test]
    async fn a_caller_that_comes_between_two_daemons_is_answered_by_the_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usaged.sock");
        let mut first = bind(&path).await.unwrap();
        let kept = first.to_be_kept().unwrap();
        drop(first);
        let caller = UnixStream::connect(&path).await.unwrap();
        let second = take_over(kept, &path).unwrap();
        second.listener.accept().await.unwrap();
        drop((caller, second));
        assert!(path.exists(), "who keeps the socket open needs its file");
    }

    #[tokio::test]
    async fn a_kept_socket_that_nobody_would_find_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usaged.sock");
        let kept = bind(&path).await.unwrap().to_be_kept().unwrap();
        assert!(take_over(kept.try_clone().unwrap(), &dir.path().join("other.sock")).is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(take_over(kept, &path).is_none());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usaged.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path).await, Err(BindError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn somebody_elses_new_socket_survives_our_going() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usaged.sock");
        let ours = bind(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn paths_the_system_cannot_take_are_named() {
        let path = Path::new("/tmp").join("x".repeat(120));
        assert!(matches!(bind(&path).await, Err(BindError::TooLong { .. })));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let refused = bind(&dir.path().join("file/usaged.sock")).await.unwrap_err();
        assert!(matches!(refused, BindError::Directory { .. }), "{refused:?}");
    }
}
