use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Exit;
use super::args::MetricsArgs;
use super::error::CliError;
use super::run::Run;

/// For everybody: the textfile collector runs as another user.
const MODE: u32 = 0o644;

pub(super) async fn metrics(run: &mut Run<'_>, args: MetricsArgs) -> Result<Exit, CliError> {
    let said = run.client.get("/metrics").await?;
    let text = said.metrics()?;
    match args.textfile {
        Some(path) => replace(&path, text).map_err(|source| CliError::File { path, source })?,
        None => run.print(text)?,
    }
    Ok(Exit::Fine)
}

/// Puts a file in the place of another, so that whoever reads finds all of the old one or all of the new one. Until then
/// it has a name that the collector, which reads `*.prom`, passes over.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".usaged-").suffix(".new").tempfile_in(directory)?;
    file.write_all(text)?;
    // Not left to the umask.
    file.as_file().set_permissions(Permissions::from_mode(MODE))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_file_stays_whole_until_the_new_one_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("usaged.prom");
        std::fs::write(&path, "old").unwrap();
        let reader = std::fs::File::open(&path).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "old", "it was replaced, and not written over");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(directory.path().read_dir().unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("usaged.prom");
        std::fs::create_dir(&path).unwrap();
        replace(&path, b"new").unwrap_err();
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
        replace(&directory.path().join("nowhere/usaged.prom"), b"new").unwrap_err();
    }
}
