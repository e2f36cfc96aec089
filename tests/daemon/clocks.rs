//! Clocks that lie: the wall clock by libfaketime, the clocks of other boots by time namespaces. The real daemon is under
//! them.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::{Process, Stripe, Vm, clean, run, skipped, until};

/// The machine's wall clock as the daemon sees it; its other clocks are the real ones.
struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// `None`, said loudly, where libfaketime is not installed.
    fn new(vm: &Vm) -> Option<Self> {
        let library = ["x86_64", "aarch64"]
            .map(|machine| PathBuf::from(format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1")))
            .into_iter()
            .find(|path| path.exists());
        let Some(library) = library else {
            skipped("a faked wall clock", "libfaketime is not there; it comes with the Debian package of this name");
            return None;
        };
        let clock = Self { library, file: vm.dir().join("wall-clock") };
        clock.set("+0");
        Some(clock)
    }

    /// As libfaketime has it: `+3600`, `-2d`, `@2000-01-01 00:00:00`.
    fn set(&self, to: &str) {
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, to).unwrap();
        std::fs::rename(beside, &self.file).unwrap();
    }

    fn start(&self, vm: &Vm) -> Process {
        let mut command = vm.usaged(vm.run_words());
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("TZ", "UTC");
        vm.await_answers(Process::start(&mut command))
    }
}

/// What was counted, and up to where on the monotonic clock, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    until_us: i64,
    used_us: i64,
}

impl Counted {
    fn of(vm: &Vm) -> Self {
        let found: String = vm.query(
            "SELECT r.monotonic_us || ' ' ||
                    ((SELECT ifnull(sum(quantity), 0) FROM bucket WHERE meter_id = r.meter_id) +
                     (SELECT ifnull(sum(quantity), 0) FROM unplaced WHERE meter_id = r.meter_id))
             FROM reading r JOIN meter m ON m.id = r.meter_id WHERE m.name = 'compute_hours'",
        );
        let (until_us, used_us) = found.split_once(' ').unwrap();
        Self { until_us: until_us.parse().unwrap(), used_us: used_us.parse().unwrap() }
    }

    /// Two samples later.
    fn later(self, vm: &Vm) -> Self {
        until("it samples on", || match Self::of(vm) {
            now if now.until_us > self.until_us + 1_500_000 => Ok(now),
            now => Err(format!("{now:?} after {self:?}")),
        })
    }

    fn assert_only_running_time_since(self, earlier: Self, when: &str) {
        let (used, ran) = (self.used_us - earlier.used_us, self.until_us - earlier.until_us);
        assert_eq!(used, ran, "{when}");
    }
}

#[test]
fn m4_m5_a_wall_clock_that_jumps_moves_neither_usage_nor_period() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let Some(clock) = WallClock::new(&vm) else { return };
    let daemon = vm.await_link(clock.start(&vm));
    vm.spend("first", "7");
    let period = vm.settle()["period_from"].clone();
    let mut counted = Counted::of(&vm);
    for (jump, stands) in ["+3d", "-3d", "+400d", "@2000-01-01 00:00:00", "+1h", "-1h"].into_iter().zip(1..) {
        clock.set(jump);
        vm.problem("clock_wrong");
        let later = counted.later(&vm);
        later.assert_only_running_time_since(counted, jump);
        counted = later;
        vm.spend(jump, "1");
        let line = vm.settle();
        assert_eq!((&line["stands"], &line["period_from"]), (&json!(stands), &period), "{jump}: {line:#}");
    }
    clock.set("+0");
    until("the clock is right again", || match vm.problems() {
        none if none.is_empty() => Ok(()),
        some => Err(some.join(", ")),
    });
    counted.later(&vm).assert_only_running_time_since(counted, "back");
    assert_eq!(stripe.books.total(&account.item), 6);
    daemon.stop();
}

#[test]
fn m5_what_is_used_in_a_boot_that_believes_in_the_year_2000_is_billed_in_its_real_period() {
    let mut stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let Some(clock) = WallClock::new(&vm) else { return };
    let daemon = vm.await_link(clock.start(&vm));
    vm.spend("before", "7");
    let period = vm.settle()["period_from"].clone();
    daemon.stop();
    stripe.go_down();
    clock.set("@2000-01-01 00:00:00");
    let daemon = clock.start(&vm);
    let counted = Counted::of(&vm);
    vm.spend("in the year 2000", "3");
    counted.later(&vm).assert_only_running_time_since(counted, "nobody tells the time");
    stripe.come_back();
    let line = vm.settle();
    assert_eq!((&line["stands"], &line["period_from"]), (&json!(3), &period), "{line:#}");
    let past: i64 = vm.query("SELECT count(*) FROM bucket WHERE from_us < 1000000000000000");
    assert_eq!(past, 0, "something lies in the year 2000");
    daemon.stop();
}

/// A boot of the machine as the daemon sees it: its id, and by how much its clocks differ from the real ones, seconds.
#[derive(Debug, Clone, Copy)]
struct Boot {
    id: u32,
    monotonic: i64,
    boottime: i64,
}

/// How long the machine has been up, seconds.
fn uptime() -> i64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    text.split('.').next().unwrap().parse().unwrap()
}

/// May be entered only by children, which is why the daemon is not the process that is started.
const NAMESPACES: [&str; 5] = ["--mount", "--map-root-user", "--time", "--fork", "--kill-child"];

/// Where the tests run in a container, its marks are hidden: there a reboot is its host's, and no usage of its own (M2).
const A_MACHINE: &str = r#"
set -eu
root=$1/root
mount --bind "$2" /proc/sys/kernel/random/boot_id
mkdir -p "$root"
mount -t tmpfs tmpfs "$root"
for path in /*; do
    if [ -L "$path" ]; then
        cp -P "$path" "$root/"
    elif [ -d "$path" ]; then
        mkdir "$root$path"
        [ "$path" = /run ] || mount --rbind "$path" "$root$path"
    fi
done
mount --bind /dev/null "$root/proc/1/environ"
shift 2
exec chroot "$root" "$@"
"#;

/// Whether boots can be told apart here; said loudly where not.
fn can_boot() -> bool {
    let trial = run(clean("unshare").args(NAMESPACES).arg("true"));
    if trial.code != 0 {
        skipped("the clocks of other boots", trial.err.trim());
    }
    trial.code == 0
}

impl Boot {
    /// The daemon lives through two samples of this boot, and is stopped.
    fn live(self, vm: &Vm) -> Counted {
        let before = vm.database().exists().then(|| Counted::of(vm));
        let id = vm.dir().join("boot_id");
        std::fs::write(&id, format!("00000000-0000-4000-8000-{:012}\n", self.id)).unwrap();
        let mut command = clean("unshare");
        command.args(NAMESPACES).arg(format!("--monotonic={}", self.monotonic));
        command.arg(format!("--boottime={}", self.boottime));
        command.args(["sh", "-c", A_MACHINE, "sh"]).arg(vm.dir()).arg(id);
        let mut unshare = Process::start(&mut vm.usaged_under(command, vm.run_words()));
        let pid = until("the daemon answers", || {
            let status = vm.ask("GET", "/v1/status", "").map_err(|error| error.to_string())?.json();
            status["pid"].as_i64().filter(|_| status["last_sample"].is_string()).ok_or(format!("{status:#}"))
        });
        let first = until("it samples in this boot", || match Counted::of(vm) {
            same if Some(same) == before => Err(format!("{same:?}")),
            first => Ok(first),
        });
        first.later(vm);
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
        assert_eq!(unshare.exit_code(), 0, "{}", unshare.output());
        Counted::of(vm)
    }
}

#[test]
fn m2_m3_reboots_suspension_and_clocks_put_back_are_told_apart_by_a_real_daemon() {
    let vm = Vm::unbilled();
    if !can_boot() {
        return;
    }
    vm.configure("clock = \"trusted\"\n[schedule]\nsample_every = \"1s\"\n");
    let first = Boot { id: 1, monotonic: 0, boottime: 0 }.live(&vm);

    // Two hours into its second boot, of which the agent saw nothing.
    let offset = 7_200 - uptime();
    let second = Boot { id: 2, monotonic: offset, boottime: offset };
    let rebooted = second.live(&vm);
    assert_eq!(rebooted.used_us - first.used_us, rebooted.until_us, "all of a boot is counted, from its beginning");
    assert!(rebooted.until_us > 7_200_000_000, "{rebooted:?}");

    // An hour later by BOOTTIME alone.
    let suspended = Boot { boottime: offset + 3_600, ..second }.live(&vm);
    suspended.assert_only_running_time_since(rebooted, "suspended meanwhile");

    // The machine's memory was put back by a minute.
    let put_back = Boot { monotonic: offset - 60, boottime: offset + 3_540, ..second }.live(&vm);
    let since = put_back.used_us - suspended.used_us;
    let at_most = put_back.until_us - (suspended.until_us - 60_000_000);
    assert!((1..at_most).contains(&since), "{since} of {at_most}: what is before the baseline was counted already");
}
