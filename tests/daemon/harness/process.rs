use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// A command that inherits nothing but where programs lie: not a key, a socket or a directory of whoever runs the tests.
pub(crate) fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end. One that a signal ended fails the test.
pub(crate) fn run(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let code = output.status.code().unwrap_or_else(|| panic!("it was killed: {output:?}"));
    Said { code, out: text(&output.stdout), err: text(&output.stderr) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running program. It is gone when this is dropped, whatever became of the test.
pub(crate) struct Process {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::default();
        collect(child.stdout.take(), &output);
        collect(child.stderr.take(), &output);
        Self { child, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn os_pid(&self) -> Pid {
        Pid::from_raw(self.pid().try_into().unwrap()).unwrap()
    }

    /// Everything it has said so far, on either stream.
    pub(crate) fn output(&self) -> String {
        text(&self.output.lock().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.os_pid(), signal).unwrap();
    }

    /// Waits until it has said something, and returns the rest of that line.
    pub(crate) fn says(&self, words: &str) -> String {
        until(&format!("it says {words:?}"), || {
            let output = self.output();
            let found = output.lines().find_map(|line| line.split_once(words).map(|(_, rest)| rest.to_owned()));
            found.ok_or(output)
        })
    }

    /// `Some` once it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or(-1))
    }

    /// Waits for its end and returns its exit code.
    pub(crate) fn exit_code(&mut self) -> i32 {
        until("it ends", || self.ended().ok_or_else(|| self.output()))
    }

    /// As an operator or systemd stops it.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let code = self.exit_code();
        assert_eq!(code, 0, "{}", self.output());
    }

    /// Stops it where it stands: it says nothing any more, whatever comes of the calls that it is in.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        until("all of it stands still", || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            let states: Vec<String> = tasks.map(|task| state(&task.unwrap().path())).collect();
            if states.iter().all(|state| ["T", "D"].contains(&state.as_str())) { Ok(()) } else { Err(states.join(" ")) }
        });
    }

    /// As a power cut ends it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Bounds the size of files it may write from now on.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let maximum = prlimit(Some(self.os_pid()), Resource::Fsize, Rlimit { current: bytes, maximum: None });
        maximum.unwrap();
    }
}

/// The state of a thread in the kernel's letters.
fn state(task: &Path) -> String {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    after_name.chars().take(1).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let last = lines.len().saturating_sub(40);
            eprintln!("--- process {} said last:\n{}\n---", self.pid(), lines[last..].join("\n"));
        }
    }
}

fn collect(stream: Option<impl Read + Send + 'static>, output: &Arc<Mutex<Vec<u8>>>) {
    let (mut stream, output) = (stream.unwrap(), Arc::clone(output));
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            output.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
    });
}
