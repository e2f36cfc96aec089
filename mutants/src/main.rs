//! Whether some test fails for every mutant of what decides a bill. `cargo mutants` names the mutants; here all of them are
//! built into one program, and each is switched on in turn, for the tests that meet it. See docs/mutants.md.

mod build;
mod judge;
mod list;
mod report;
mod rewrite;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use judge::{Test, Verdict};
use list::Mutant;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| {
        arguments.next().with_context(|| format!("usage: usaged-mutants LIST SCRATCH EXPLAINED JUDGE...: no {what}"))
    };
    let (listed, scratch, explained) = (next("LIST")?, next("SCRATCH")?, next("EXPLAINED")?);
    let judges: Vec<String> = arguments.collect();
    let project = std::env::current_dir()?;
    let mutants = list::read(Path::new(&listed))?;
    std::fs::create_dir_all(&scratch)?;
    let scratch = PathBuf::from(scratch).canonicalize()?;

    let limits = Limits { test: seconds("TEST_S", 60), mutant: seconds("MUTANT_S", 120) };
    let built = build::build(&project, &scratch, &mutants, &judges)?;
    let tests = met(&scratch, &built.programs, limits)?;
    for test in tests.iter().filter(|test| !test.passes) {
        eprintln!("{} fails without a mutant, or takes too long, and judges none", test.name);
    }
    let tests: Vec<Test> = tests.into_iter().filter(|test| test.passes).collect();
    let ids: Vec<usize> = (0..mutants.len()).filter(|id| !built.left_out.contains(id)).collect();
    let verdicts = judge_all(&scratch, &mutants, &ids, &tests, limits)?;
    let explained = std::fs::read_to_string(&explained).with_context(|| format!("cannot read {explained}"))?;
    let is_clean = report::report(&scratch, &mutants, &built.left_out, &verdicts, &explained)?;
    if !is_clean {
        bail!("some mutants survive, and are not explained");
    }
    Ok(())
}

/// How long things may take.
#[derive(Clone, Copy)]
struct Limits {
    /// A test that takes longer without a mutant judges none.
    test: Duration,
    /// So much of tests is run for a mutant, quick ones first.
    mutant: Duration,
}

fn seconds(name: &str, default: u64) -> Duration {
    Duration::from_secs(std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default))
}

/// Runs what `work` does for every number below `count`, two at a time.
fn two_at_a_time(count: usize, work: impl Fn(usize) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let worker = || -> anyhow::Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return Ok(());
            }
            work(at)?;
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        worker()?;
        other.join().unwrap_or_else(|_| bail!("a worker panicked"))
    })
}

/// Every test with the mutants that it meets; what an earlier run of these programs found is not looked for again.
fn met(scratch: &Path, programs: &[PathBuf], limits: Limits) -> anyhow::Result<Vec<Test>> {
    let kept = scratch.join("tests.jsonl");
    let built = programs.iter().map(|program| program.metadata()?.modified()).collect::<std::io::Result<Vec<_>>>()?;
    let is_older = |at: SystemTime| built.iter().any(|built| at < *built);
    if kept.metadata().and_then(|kept| kept.created()).is_ok_and(is_older) {
        std::fs::remove_file(&kept)?;
    }
    let known = std::fs::read_to_string(&kept).unwrap_or_default();
    let mut found: Vec<Test> = known.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut named = Vec::new();
    for program in programs {
        let is_new = |name: &String| !found.iter().any(|test| test.name == *name && test.program == *program);
        named.extend(judge::tests(program)?.into_iter().filter(is_new).map(|name| (program, name)));
    }
    let log = Mutex::new(std::fs::File::options().create(true).append(true).open(&kept)?);
    let new = Mutex::new(Vec::new());
    two_at_a_time(named.len(), |at| {
        let (program, name) = &named[at];
        let note = scratch.join(format!("met.{at}"));
        let test = judge::reach(scratch, program, name, &note, limits.test)?;
        std::fs::remove_file(note).ok();
        writeln!(log.lock().unwrap(), "{}", serde_json::to_string(&test)?)?;
        new.lock().unwrap().push(test);
        Ok(())
    })?;
    found.extend(new.into_inner()?);
    Ok(found)
}

fn judge_all(
    scratch: &Path,
    mutants: &[Mutant],
    ids: &[usize],
    tests: &[Test],
    limits: Limits,
) -> anyhow::Result<BTreeMap<usize, String>> {
    let verdicts = Mutex::new(BTreeMap::new());
    let kills = Mutex::new(BTreeMap::<String, u32>::new());
    let log = Mutex::new(std::fs::File::create(scratch.join("verdicts.jsonl"))?);
    two_at_a_time(ids.len(), |at| {
        let id = ids[at];
        let verdict = judge_one(scratch, id, tests, &kills, limits)?;
        let line = serde_json::json!({"mutant": mutants[id].name, "verdict": verdict});
        writeln!(log.lock().unwrap(), "{line}")?;
        verdicts.lock().unwrap().insert(id, verdict);
        Ok(())
    })?;
    Ok(verdicts.into_inner()?)
}

/// First the tests that are quick and have caught many, a few at once; then more and more of them.
fn judge_one(
    scratch: &Path,
    id: usize,
    tests: &[Test],
    kills: &Mutex<BTreeMap<String, u32>>,
    limits: Limits,
) -> anyhow::Result<String> {
    let mut able: Vec<&Test> = tests.iter().filter(|test| test.meets.contains(&id)).collect();
    if able.is_empty() {
        return Ok("unmet".to_owned());
    }
    let caught = kills.lock().unwrap().clone();
    able.sort_by_key(|test| test.takes / (1 + caught.get(&test.name).copied().unwrap_or(0)));
    let mut at_once = Duration::from_millis(200);
    let mut left = limits.mutant;
    able.retain(|test| {
        let is_in_time = !left.is_zero();
        left = left.saturating_sub(test.takes);
        is_in_time
    });
    let mut rest = able.into_iter().peekable();
    while rest.peek().is_some() {
        let mut chunk: Vec<&Test> = Vec::new();
        while let Some(test) = rest.next_if(|test| {
            chunk.is_empty()
                || chunk[0].program == test.program && chunk.iter().map(|one| one.takes).sum::<Duration>() < at_once
        }) {
            chunk.push(test);
        }
        at_once *= 2;
        let names: Vec<&str> = chunk.iter().map(|test| test.name.as_str()).collect();
        let within = chunk.iter().map(|test| test.takes).sum::<Duration>() * 8 + Duration::from_secs(20);
        match judge::judge(scratch, &chunk[0].program, &names, id, within)? {
            Verdict::Passed => {}
            Verdict::TimedOut => return Ok("timed out".to_owned()),
            Verdict::Failed { test } => {
                let program = chunk[0].program.file_name().unwrap_or_default().to_string_lossy().into_owned();
                *kills.lock().unwrap().entry(test.clone()).or_default() += 1;
                return Ok(format!("caught by {program} {test}"));
            }
        }
    }
    Ok("survived".to_owned())
}
