use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::super::error::CliError;

/// Where rows go: to stdout as they come, or into a file that takes its name once it is whole. Until then it lies beside
/// that under another one, and is gone with whoever gives up.
pub(super) enum Sink {
    Stdout,
    File { file: NamedTempFile, path: PathBuf },
}

impl Sink {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".usagectl-").suffix(".new").tempfile_in(directory);
        let path = path.to_owned();
        match file {
            Ok(file) => Ok(Self::File { file, path }),
            Err(source) => Err(CliError::File { path, source }),
        }
    }

    /// Whether anybody wants more.
    pub(super) fn write(&mut self, out: &mut dyn Write, text: &str) -> Result<bool, CliError> {
        match self {
            Self::Stdout => match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
                written => written.map(|()| true).map_err(CliError::Output),
            },
            Self::File { file, path } => match file.write_all(text.as_bytes()) {
                Ok(()) => Ok(true),
                Err(source) => Err(CliError::File { path: path.clone(), source }),
            },
        }
    }

    /// What is left of it where it ends now.
    pub(super) fn left(&self) -> String {
        match self {
            Self::Stdout => "what was printed is not all".to_owned(),
            Self::File { path, .. } => format!("{} is as it was before", path.display()),
        }
    }

    /// The file, where it is one.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, CliError> {
        let Self::File { file, path } = self else { return Ok(None) };
        let kept = file.as_file().sync_all().and_then(|()| file.persist(&path).map_err(|error| error.error));
        kept.map_err(|source| CliError::File { path: path.clone(), source })?;
        Ok(Some(path))
    }
}
