//! `usaged`, see [`usaged::daemon`].

use std::process::ExitCode;

fn main() -> ExitCode {
    usaged::daemon::main(std::env::args_os())
}
