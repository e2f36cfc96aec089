use std::io::{self, Write};
use std::path::PathBuf;

use hyper::StatusCode;

use super::Exit;
use crate::operator::OperatorError;
use crate::wire::{ErrorBody, RECORD_GROUP};

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// Nobody answers.
    #[error("no usaged answers on {path}: {source}")]
    NotReachable { path: PathBuf, source: io::Error, service: Option<String> },
    /// The system does not let this user at the socket.
    #[error("this user may not open {path}: it is for root and members of the group {RECORD_GROUP} ({source})")]
    NotAllowed { path: PathBuf, source: io::Error },
    /// It closed the door before it was asked anything.
    #[error("usaged on {path} closed the connection before it was asked: it is stopping, or too many are open at once")]
    TurnedAway { path: PathBuf },
    /// It answered, and then did not.
    #[error("usaged on {path} hung up before it answered: {why}")]
    Lost { path: PathBuf, why: String },
    /// It takes too long.
    #[error("usaged on {path} gave no answer within {seconds} s")]
    Silent { path: PathBuf, seconds: u64 },
    /// It said no.
    #[error("{}", .body.error)]
    Answered { status: StatusCode, retry_after_s: Option<u64>, body: ErrorBody },
    /// It said something else than expected.
    #[error("cannot read what usaged on {path} said: {why}")]
    Unreadable { path: PathBuf, why: String },
    /// Records that were not counted.
    #[error("{reason}")]
    RecordRefused { code: String, reason: String },
    /// A record that may or may not have arrived.
    #[error("{source}; whether the record arrived is not known")]
    RecordUnknown { again: String, source: Box<CliError> },
    /// A record that certainly did not arrive.
    #[error("{source}; the record did not arrive")]
    RecordUnsent { again: String, source: Box<CliError> },
    /// Somebody had enough of it.
    #[error("interrupted after {rows} rows; {left}")]
    ExportInterrupted { rows: u64, left: String },
    /// It ended in the middle.
    #[error("{source}; that was after {rows} rows: {left}")]
    ExportCut { rows: u64, left: String, source: Box<CliError> },
    /// Everybody on the machine sees an argument, and the shell keeps it.
    #[error("an argument holds a Stripe key, which every user of this machine sees and the shell's history keeps")]
    KeyInArguments,
    /// An answer has one form.
    #[error("--json does not go with --plot, --csv or --openmetrics")]
    TwoForms,
    /// Stripe was asked, or should have been.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Not even a client.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// The answer cannot be put into a file.
    #[error("cannot write {path}: {source}; what it held before is untouched")]
    File { path: PathBuf, source: io::Error },
    /// The answer cannot be written down.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// Whether asking again may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::NotReachable { .. } | Self::TurnedAway { .. } | Self::Lost { .. } | Self::Silent { .. } => true,
            Self::Answered { status, .. } => *status == StatusCode::SERVICE_UNAVAILABLE,
            _ => false,
        }
    }

    /// Whether the request may have been carried out.
    pub(super) fn may_have_arrived(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Silent { .. } | Self::Unreadable { .. })
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::NotReachable { .. } => Exit::NotReachable,
            Self::NotAllowed { .. } | Self::RecordRefused { .. } => Exit::Refused,
            Self::Answered { status, .. } if [StatusCode::FORBIDDEN, StatusCode::CONFLICT].contains(status) => {
                Exit::Refused
            }
            Self::RecordUnknown { source, .. } | Self::RecordUnsent { source, .. } | Self::ExportCut { source, .. } => {
                source.exit()
            }
            Self::KeyInArguments | Self::TwoForms => Exit::BadUsage,
            Self::Operator(error) if error.is_refusal() => Exit::Refused,
            _ => Exit::Error,
        }
    }

    fn code(&self) -> &str {
        match self {
            Self::NotReachable { .. } => "not_reachable",
            Self::NotAllowed { .. } => "not_allowed",
            Self::TurnedAway { .. } => "turned_away",
            Self::Lost { .. } => "lost",
            Self::Silent { .. } => "silent",
            Self::Answered { body, .. } => &body.code,
            Self::Unreadable { .. } => "unreadable",
            Self::RecordRefused { code, .. } => code,
            Self::RecordUnknown { .. } => "record_unknown",
            Self::RecordUnsent { source, .. } | Self::ExportCut { source, .. } => source.code(),
            Self::ExportInterrupted { .. } => "interrupted",
            Self::KeyInArguments => "key_in_arguments",
            Self::TwoForms => "two_forms",
            Self::Operator(error) => error.code(),
            Self::Start(_) => "cannot_start",
            Self::Output(_) => "output",
            Self::File { .. } => "file",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotReachable { service: Some(hint), .. } => return Some(hint.clone()),
            Self::NotReachable { .. } => {
                "start it: sudo systemctl start usaged (or, just to try it: usaged run --sandbox)"
            }
            Self::NotAllowed { .. } => {
                return Some(format!(
                    "run it with sudo; or: sudo usermod -aG {RECORD_GROUP} \"$USER\", then log in again"
                ));
            }
            Self::TurnedAway { .. } | Self::Lost { .. } | Self::Silent { .. } => {
                "see what it is doing: journalctl -u usaged -n 50"
            }
            Self::ExportCut { source, .. } => return source.hint(),
            Self::ExportInterrupted { .. } => "run it again; --from and --to make it shorter",
            Self::Unreadable { .. } => "usagectl and usaged must be of the same version",
            Self::Answered { body, .. } => return body.hint.clone(),
            Self::RecordUnknown { again, .. } | Self::RecordUnsent { again, .. } => {
                return Some(format!("run it again with the same id, it counts once: {again}"));
            }
            Self::KeyInArguments => {
                "put it into the environment: read -rs STRIPE_API_KEY && export STRIPE_API_KEY; then roll this one in the \
                 dashboard, since it is known now"
            }
            Self::TwoForms => "--json is what the daemon says; leave one of them out",
            Self::Operator(error) => return error.hint(),
            Self::File { .. } => "name a file in a directory that this user may write",
            Self::RecordRefused { .. } | Self::Start(_) | Self::Output(_) => return None,
        };
        Some(text.to_owned())
    }

    /// Says it on stderr, as JSON where JSON was asked for.
    pub(super) fn tell(&self, err: &mut dyn Write, json: bool) -> io::Result<()> {
        if json {
            let body = ErrorBody { code: self.code().to_owned(), error: self.to_string(), hint: self.hint() };
            serde_json::to_writer(&mut *err, &body)?;
            return writeln!(err);
        }
        writeln!(err, "error: {self}")?;
        if let Self::RecordUnsent { source, .. } | Self::RecordUnknown { source, .. } = self
            && let Some(hint) = source.hint()
        {
            writeln!(err, "hint: {hint}")?;
        }
        self.hint().map_or(Ok(()), |hint| writeln!(err, "hint: {hint}"))
    }
}
