/// How `usagectl` ends. Public interface: the numbers never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, and nothing needs anybody.
    Fine,
    /// It did not work.
    Error,
    /// The command line is wrong; nothing was asked.
    BadUsage,
    /// No daemon answers on the socket.
    NotReachable,
    /// Understood, and refused: by a rule, or because this user may not.
    Refused,
    /// Running, but with a problem that needs someone.
    NeedsSomeone,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Error => 1,
            Self::BadUsage => 2,
            Self::NotReachable => 3,
            Self::Refused => 4,
            Self::NeedsSomeone => 5,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
