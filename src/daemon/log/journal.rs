//! The journal's own protocol: one datagram for an entry, with a field for each value.
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::line::Line;

pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// A journal that takes nothing for so long is written to as to any stream.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a stream is the one that `JOURNAL_STREAM` names, as DEVICE:INODE. Whoever led it elsewhere reads it there.
pub(super) fn is(stream: &str, fd: impl AsFd) -> bool {
    let told = stream.split_once(':');
    rustix::fs::fstat(fd).is_ok_and(|found| {
        told.is_some_and(|(device, inode)| device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino))
    })
}

pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket })
    }

    pub(super) fn send(&self, line: &Line) -> io::Result<()> {
        self.socket.send(&entry(line)).map(drop)
    }
}

fn entry(line: &Line) -> Vec<u8> {
    let mut entry = Vec::new();
    let priority: String = line.priority().chars().filter(char::is_ascii_digit).collect();
    put(&mut entry, "MESSAGE", &line.to_string());
    put(&mut entry, "PRIORITY", &priority);
    put(&mut entry, "SYSLOG_IDENTIFIER", "usaged");
    put(&mut entry, "TARGET", line.target);
    if let Some((file, number)) = line.source {
        put(&mut entry, "CODE_FILE", file);
        put(&mut entry, "CODE_LINE", &number.to_string());
    }
    for (name, value) in &line.fields {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        put(&mut entry, &field_name(name), &text);
    }
    if line.repeated > 0 {
        put(&mut entry, "USAGED_REPEATED", &line.repeated.to_string());
    }
    entry
}

/// As `USAGED_REQUEST_ID`: capitals, digits and `_` only.
fn field_name(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    "USAGED_".chars().chain(letters).collect()
}

/// What has several lines goes with its length before it.
fn put(entry: &mut Vec<u8>, name: &str, text: &str) {
    entry.extend_from_slice(name.as_bytes());
    if text.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(text.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::lines_of;
    use super::*;

    #[test]
    fn text_of_several_lines_goes_with_its_length_and_cannot_pose_as_another_field() {
        let line = lines_of(|| tracing::error!(why = "a\nPRIORITY=7", "it\nfailed")).remove(0);
        let entry = String::from_utf8(entry(&line)).unwrap();
        assert!(
            entry.starts_with("MESSAGE\n\u{1d}\0\0\0\0\0\0\0it\nfailed why=\"a\\nPRIORITY=7\"\nPRIORITY=3\n"),
            "{entry:?}"
        );
        assert!(entry.ends_with("USAGED_WHY\n\u{c}\0\0\0\0\0\0\0a\nPRIORITY=7\n"), "{entry:?}");
    }

    #[test]
    fn only_the_stream_that_is_named_is_the_journals() {
        let file = tempfile::tempfile().unwrap();
        let found = rustix::fs::fstat(&file).unwrap();
        assert!(is(&format!("{}:{}", found.st_dev, found.st_ino), &file));
        assert!(!is(&format!("{}:{}", found.st_dev, found.st_ino + 1), &file));
        assert!(!is("nonsense", &file));
    }
}
