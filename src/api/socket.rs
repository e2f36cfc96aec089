use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Everybody may connect, see [`super::Access`].
const SOCKET_MODE: u32 = 0o666;
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
    file: (u64, u64),
}

impl Socket {
    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    /// Only its own file: should somebody have replaced it, theirs stays.
    fn drop(&mut self) {
        if identity(&self.path).ok() == Some(self.file)
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
    std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(listen)?;
    let file = identity(path).map_err(listen)?;
    Ok(Socket { listener, path: path.into(), file })
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
