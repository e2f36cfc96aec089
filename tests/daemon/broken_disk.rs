//! Disks that fail: flushes, writes and reads that end with EIO, torn pages, and power that is cut under the file system.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Load, Process, Stripe, Vm, clean, often, run, skipped, until};
use crate::torn::tear_some;

/// A disk under the daemon whose calls fail on demand; see `broken_disk.c`.
struct BrokenDisk {
    library: PathBuf,
    orders: PathBuf,
}

impl BrokenDisk {
    /// Built by the compiler that SQLite is built with.
    fn new(vm: &Vm) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/broken_disk.c");
        let library = vm.dir().join("broken_disk.so");
        let built = run(clean("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl"));
        assert_eq!(built.code, 0, "{built:?}");
        Self { library, orders: vm.dir().join("broken") }
    }

    fn under(&self, mut command: Command) -> Process {
        Process::start(command.env("LD_PRELOAD", &self.library).env("BROKEN_DISK", &self.orders))
    }

    fn fails_to(&self, call: &str) {
        let beside = self.orders.with_extension("new");
        std::fs::write(&beside, call).unwrap();
        std::fs::rename(beside, &self.orders).unwrap();
    }

    fn heals(&self) {
        std::fs::remove_file(&self.orders).unwrap();
    }
}

#[test]
fn m8_what_a_disk_did_not_take_is_not_acknowledged_and_counts_once_when_it_is_sent_again() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let disk = BrokenDisk::new(&vm);
    let daemon = vm.await_link(vm.await_answers(disk.under(vm.usaged(vm.run_words()))));
    vm.spend("before", "8");
    let mut stands = 1;
    for call in ["flush", "write"] {
        disk.fails_to(call);
        let refused = vm.record(call, "2").unwrap();
        assert_eq!(refused.status, 503, "{refused:?}");
        let problem = vm.problem("database_unavailable");
        assert!(problem.contains("samples cannot be stored"), "{problem}");
        disk.heals();
        until("it is taken", || match vm.record(call, "2").unwrap() {
            answer if answer.status == 200 => Ok(()),
            answer => Err(format!("{answer:?}")),
        });
        stands += 2;
        assert_eq!(vm.settle()["stands"], json!(stands), "{call}");
        until("the problem is over", || match vm.problems() {
            none if none.is_empty() => Ok(()),
            some => Err(some.join(", ")),
        });
    }
    daemon.kill();
    let daemon = vm.start();
    for id in ["before", "flush", "write"] {
        let quantity = if id == "before" { "8" } else { "2" };
        assert_eq!(vm.record(id, quantity).unwrap().json()["duplicate"], 1, "{id}");
    }
    daemon.stop();
    assert_eq!(vm.query::<String>("PRAGMA integrity_check"), "ok");
}

#[test]
fn m8_a_disk_that_cannot_be_read_for_a_while_costs_nothing() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let disk = BrokenDisk::new(&vm);
    let daemon = vm.await_link(vm.await_answers(disk.under(vm.usaged(vm.run_words()))));
    vm.spend("before", "9");
    assert_eq!(vm.settle()["stands"], 2);
    disk.fails_to("read");
    assert_eq!(vm.ctl(&["db", "check"]).code, 5);
    until("it says why it waits", || {
        let said = vm.ask("GET", "/v1/status", "").map_err(|error| error.to_string())?.json();
        let says_so = said["problems"].to_string().contains("cannot be read");
        if says_so { Ok(()) } else { Err(format!("{said:#}")) }
    });
    disk.heals();
    assert_eq!(vm.ctl(&["db", "recover"]).code, 0);
    let duplicate = until("it goes on where it was", || match vm.record("before", "9") {
        Ok(answer) if answer.status == 200 => Ok(answer.json()["duplicate"].clone()),
        answer => Err(format!("{answer:?}")),
    });
    assert_eq!(duplicate, 1);
    let names = std::fs::read_dir(vm.state_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let set_aside: Vec<_> = names.filter(|name| name.to_string_lossy().contains("damaged")).collect();
    assert!(set_aside.is_empty(), "{set_aside:?}");
    vm.spend("after", "1");
    assert_eq!(vm.settle()["stands"], 3);
    daemon.stop();
}

/// So often, and `USAGED_DISK_FAULTS` says how often else.
const DISK_FAULTS: u32 = 16;

/// What can be torn without taking what nothing else tells: credits that are in no bucket, or what was sent.
const TORN: [&str; 5] = ["audit", "job_run", "credit", "credit_by_place", "sqlite_autoindex_credit_1"];

#[test]
fn m8_s5_on_a_disk_that_fails_and_tears_pages_under_load_what_was_acknowledged_stands_once() {
    let faults = often("USAGED_DISK_FAULTS", DISK_FAULTS);
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let disk = BrokenDisk::new(&vm);
    let start = || vm.await_answers(disk.under(vm.usaged(vm.run_words())));
    vm.await_link(start()).kill();
    let load = Load::on(&vm);
    let mut dice = fastrand::Rng::with_seed(SEED);
    let (acknowledged, daemon) = load.meets(&mut dice, |dice| {
        for _ in 0..faults {
            let daemon = start();
            thread::sleep(Duration::from_millis(dice.u64(0..500)));
            disk.fails_to(dice.choice(["flush", "write", "read", "flush write", "read write"]).unwrap());
            thread::sleep(Duration::from_millis(dice.u64(0..500)));
            if dice.bool() {
                disk.heals();
                thread::sleep(Duration::from_millis(dice.u64(0..500)));
                daemon.kill();
            } else {
                daemon.kill();
                disk.heals();
            }
            // Killed between the two names of a recovery, the ledger has its own again with the next start.
            if dice.bool() && vm.database().exists() {
                let table = dice.choice(TORN).unwrap();
                tear_some(&vm.database(), table, |place, _| place == 0);
            }
            load.assert_not_too_much(&stripe, &account);
        }
        start()
    });
    assert!(!acknowledged.is_empty());
    load.assert_all_stand_once(&stripe, &account, &acknowledged);
    daemon.stop();
    assert_eq!(vm.query::<String>("PRAGMA integrity_check"), "ok");
}

/// So often, and `USAGED_POWER_CUTS` says how often else.
const POWER_CUTS: u32 = 8;
const SEED: u64 = 20_260_802;

/// A file system of its own under the state directory, on a file.
struct Filesystem<'a> {
    vm: &'a Vm,
    image: PathBuf,
}

impl<'a> Filesystem<'a> {
    /// `None`, said loudly, where nobody may mount one.
    fn new(vm: &'a Vm) -> Option<Self> {
        let image = vm.dir().join("disk");
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        std::fs::create_dir(vm.state_dir()).unwrap();
        let disk = Self { vm, image };
        let made = run(clean("mkfs.ext4").arg("-qF").arg(&disk.image));
        let mounted = run(disk.mounted().arg("true"));
        if made.code != 0 || mounted.code != 0 {
            skipped("a power cut under the file system", format!("{} {}", made.err, mounted.err).trim());
            return None;
        }
        Some(disk)
    }

    /// A command with the file system in place, which goes with it.
    fn mounted(&self) -> Command {
        let mut command = clean("unshare");
        let script = r#"mount -o loop "$1" "$2" && shift 2 && exec "$@""#;
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(&self.image).arg(self.vm.state_dir());
        command
    }

    fn start(&self) -> Process {
        until("the file system is let go", || match run(clean("losetup").arg("-j").arg(&self.image)) {
            said if said.out.is_empty() => Ok(()),
            said => Err(said.out),
        });
        self.vm.await_answers(Process::start(&mut self.vm.usaged_under(self.mounted(), self.vm.run_words())))
    }

    /// What is not on the disk by now never gets there: not even the file system's journal.
    fn cut_power(&self, daemon: &Process) {
        let script = "import fcntl, os, struct, sys\n\
                      fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        let seen_from_here = format!("/proc/{}/root{}", daemon.pid(), self.vm.state_dir().display());
        let said = run(clean("python3").args(["-c", script, &seen_from_here]));
        assert_eq!(said.code, 0, "{said:?}");
    }
}

#[test]
fn m8_s2_what_was_acknowledged_before_the_power_was_cut_is_on_the_disk_and_stands_once() {
    let cuts = often("USAGED_POWER_CUTS", POWER_CUTS);
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let Some(disk) = Filesystem::new(&vm) else { return };
    vm.await_link(disk.start()).kill();
    let load = Load::on(&vm);
    let mut dice = fastrand::Rng::with_seed(SEED);
    let (acknowledged, daemon) = load.meets(&mut dice, |dice| {
        for _ in 0..cuts {
            let daemon = disk.start();
            thread::sleep(Duration::from_millis(dice.u64(100..1_200)));
            // With the power goes the processor: nothing is acknowledged any more, also where the file system, which has
            // lost its journal in the middle of a flush, says that it was done.
            daemon.freeze();
            disk.cut_power(&daemon);
            daemon.kill();
            load.assert_not_too_much(&stripe, &account);
        }
        disk.start()
    });
    assert!(!acknowledged.is_empty());
    load.assert_all_stand_once(&stripe, &account, &acknowledged);
    daemon.stop();
}
