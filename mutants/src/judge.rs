//! One run of some tests of a program: with a mutant on, or to learn which mutants a test meets.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A test, how long it takes, and the mutants that it meets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Test {
    pub program: PathBuf,
    pub name: String,
    pub takes: Duration,
    pub meets: BTreeSet<usize>,
    pub passes: bool,
}

/// What tests said of a mutant.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed { test: String },
    TimedOut,
}

/// The names of a program's tests.
pub fn tests(program: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new(program).args(["--list", "--format", "terse"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Runs one test without a mutant, and says which mutants it meets. One that takes too long passes for one that fails.
pub fn reach(project: &Path, program: &Path, name: &str, note: &Path, within: Duration) -> anyhow::Result<Test> {
    let begun = Instant::now();
    let mut child = command(project, program, &[name]).env("MUTANTS_REACHED", note).stdout(Stdio::piped()).spawn()?;
    let verdict = watch(&mut child, within);
    child.kill().ok();
    child.wait()?;
    let takes = begun.elapsed();
    let noted = std::fs::read_to_string(note).unwrap_or_default();
    let meets = noted.lines().filter_map(|line| line.parse().ok()).collect();
    let passes = verdict? == Verdict::Passed;
    Ok(Test { program: program.to_owned(), name: name.to_owned(), takes, meets, passes })
}

/// Runs tests of one program with a mutant on, until the first of them fails.
pub fn judge(
    project: &Path,
    program: &Path,
    names: &[&str],
    mutant: usize,
    within: Duration,
) -> anyhow::Result<Verdict> {
    let mut child =
        command(project, program, names).env("MUTANT", mutant.to_string()).stdout(Stdio::piped()).spawn()?;
    let verdict = watch(&mut child, within);
    child.kill().ok();
    child.wait()?;
    verdict
}

fn watch(child: &mut Child, within: Duration) -> anyhow::Result<Verdict> {
    let deadline = Instant::now() + within;
    let (sender, lines) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let failed = line
                    .strip_prefix("test ")
                    .and_then(|line| line.split_once(" ... "))
                    .filter(|(_, how)| how.ends_with("FAILED"));
                if let Some((test, _)) = failed {
                    return Ok(Verdict::Failed { test: test.to_owned() });
                }
            }
            Err(RecvTimeoutError::Timeout) => return Ok(Verdict::TimedOut),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let passed = child.wait()?.success();
    Ok(if passed { Verdict::Passed } else { Verdict::Failed { test: "the process ended".to_owned() } })
}

fn command(project: &Path, program: &Path, names: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(names)
        .args(["--exact", "--test-threads=1"])
        .current_dir(project)
        .env("CARGO_MANIFEST_DIR", project)
        .env("INSTA_UPDATE", "no")
        .env("PROPTEST_FAILURE_PERSISTENCE", "off")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}
