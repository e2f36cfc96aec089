//! A command of the operator's, run without a shell, in a process group of its own, for a bounded time.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// All that a command finds programs by: the daemon's own environment may hold a key.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Between being asked to end and being ended.
const GRACE: Duration = Duration::from_secs(5);
/// What has left the group may hold a pipe open; it is not waited for longer.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// More of each stream is read, and not kept.
const KEPT_BYTES: usize = 8 * 1_024;

/// What is run.
#[derive(Debug)]
pub struct Hook<'a> {
    /// The program and its arguments.
    pub command: &'a [String],
    /// It is ended after so long.
    pub limit: Duration,
    /// Beside `PATH`.
    pub variables: Vec<(&'static str, String)>,
    /// What it reads on its stdin.
    pub body: String,
}

/// What it said, first its stdout, then its stderr.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Lines without control characters.
    pub lines: Vec<String>,
    /// So many bytes more were not kept.
    pub left_out: usize,
}

/// Runs it to its end, and says why not where it failed. Whatever it started in its group ends with it, also where this
/// is dropped half-way.
pub async fn run(hook: &Hook<'_>) -> (Words, Result<(), String>) {
    let mut child = match spawn(hook) {
        Ok(child) => child,
        Err(why) => return (Words::default(), Err(why)),
    };
    let group = Group::of(&child);
    let (mut out, mut err) = (Kept::default(), Kept::default());
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let ended = {
        let talk = talk(streams, &hook.body, &mut out, &mut err);
        let end = end(&mut child, &group, hook.limit);
        tokio::pin!(talk, end);
        tokio::select! {
            ended = &mut end => {
                group.signal(Signal::KILL);
                drop(timeout(LAST_WORDS, talk).await);
                ended
            }
            () = &mut talk => end.await,
        }
    };
    let words =
        Words { lines: out.lines().chain(err.lines()).collect(), left_out: out.left_out.saturating_add(err.left_out) };
    let ended = ended.map_err(|why| match words.lines.last() {
        Some(last) => format!("{why}; it said last: {last}"),
        None => why,
    });
    (words, ended)
}

fn spawn(hook: &Hook<'_>) -> Result<Child, String> {
    let (program, arguments) = hook.command.split_first().ok_or("no command is named")?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        // No variable can hold it, and nothing else is to keep an alert from being told.
        .envs(hook.variables.iter().map(|(name, value)| (name, value.replace('\0', ""))))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| format!("it cannot be started: {why}"))
}

type Streams =
    (Option<tokio::process::ChildStdin>, Option<tokio::process::ChildStdout>, Option<tokio::process::ChildStderr>);

async fn talk((stdin, stdout, stderr): Streams, body: &str, out: &mut Kept, err: &mut Kept) {
    let feed = async {
        if let Some(mut stdin) = stdin {
            // One that does not read has no use for it.
            drop(stdin.write_all(body.as_bytes()).await);
        }
    };
    tokio::join!(feed, out.take(stdout), err.take(stderr));
}

async fn end(child: &mut Child, group: &Group, limit: Duration) -> Result<(), String> {
    match timeout(limit, child.wait()).await {
        Ok(Ok(status)) => judge(status),
        Ok(Err(why)) => Err(format!("its end was not seen: {why}")),
        Err(_) => {
            group.signal(Signal::TERM);
            if timeout(GRACE, child.wait()).await.is_err() {
                group.signal(Signal::KILL);
                drop(child.wait().await);
            }
            Err(format!("it took longer than {} s and was ended", limit.as_secs()))
        }
    }
}

fn judge(status: ExitStatus) -> Result<(), String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(format!("it ended with exit code {code}")),
        (None, signal) => Err(format!("it was ended by signal {}", signal.unwrap_or_default())),
    }
}

/// Everything that the command started and that did not leave on purpose.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            let _nobody_is_left = kill_process_group(leader, signal).is_err();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    left_out: usize,
}

impl Kept {
    async fn take(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = [0; 1_024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let room = KEPT_BYTES.saturating_sub(self.bytes.len()).min(read);
            self.bytes.extend_from_slice(buffer.get(..room).unwrap_or_default());
            self.left_out = self.left_out.saturating_add(read.saturating_sub(room));
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        let plain = |line: &str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        text.lines().filter(|line| !line.trim().is_empty()).map(plain).collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn run_script(script: &str, limit: Duration) -> (Words, Result<(), String>) {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let variables = vec![("USAGED_ALERT_CODE", "a_code".to_owned())];
        let hook = Hook { command: &command, limit, variables, body: "{\"id\":1}".to_owned() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&hook))
    }

    #[test]
    fn it_reads_the_body_and_finds_nothing_of_ours_in_its_environment() {
        let (words, ended) = run_script("cat; echo; env | cut -d= -f1 | sort", Duration::from_mins(1));
        assert_eq!(ended, Ok(()));
        let names: Vec<&str> = words.lines.iter().map(String::as_str).filter(|name| *name != "_").collect();
        assert_eq!(names, ["{\"id\":1}", "PATH", "PWD", "USAGED_ALERT_CODE"]);
    }

    #[test]
    fn one_that_does_not_read_does_not_hold_us_up() {
        assert_eq!(run_script("exec 0<&-; true", Duration::from_mins(1)).1, Ok(()));
    }

    #[test]
    fn a_failure_is_told_with_its_last_words_and_without_their_control_characters() {
        let (_, ended) = run_script("printf 'no \\033[31mroute\\n' >&2; exit 7", Duration::from_mins(1));
        assert_eq!(ended, Err("it ended with exit code 7; it said last: no  [31mroute".to_owned()));
        let command = ["/nowhere/hook".to_owned()];
        let hook = Hook { command: &command, limit: GRACE, variables: Vec::new(), body: String::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(runtime.block_on(run(&hook)).1.unwrap_err().starts_with("it cannot be started"));
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("child");
        // Its child hears of no SIGTERM, and would live on.
        let script = format!("trap '' TERM; sleep 300 & echo $! > {}; wait; wait; sleep 300", file.display());
        let before = Instant::now();
        let (_, ended) = run_script(&script, Duration::from_secs(1));
        assert_eq!(ended, Err("it took longer than 1 s and was ended".to_owned()));
        assert!(before.elapsed() < Duration::from_mins(1));
        let child = std::fs::read_to_string(file).unwrap();
        assert!(is_gone(child.trim()), "{child} lives on");
    }

    #[test]
    fn what_it_leaves_in_the_background_ends_with_it() {
        let before = Instant::now();
        let (words, ended) = run_script("sleep 300 & echo $!", Duration::from_mins(2));
        assert_eq!(ended, Ok(()));
        assert!(before.elapsed() < Duration::from_mins(1), "it was waited for");
        assert!(is_gone(&words.lines[0]), "{words:?} lives on");
    }

    /// Killed; somebody may not have buried it yet.
    fn is_gone(pid: &str) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let gone = stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'));
            if gone || Instant::now() > end {
                return gone;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_says_too_much_is_read_to_its_end_and_cut() {
        let (words, ended) = run_script("yes | head -c 100000", Duration::from_mins(1));
        assert_eq!(ended, Ok(()));
        assert_eq!((words.lines.len(), words.left_out), (KEPT_BYTES.div_euclid(2), 100_000 - KEPT_BYTES));
    }
}
