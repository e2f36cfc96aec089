//! Builds one program that has every mutant in it, but for those that do not compile beside the others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::list::Mutant;
use crate::rewrite;

/// An arm lies so many lines below the head of its match.
const ARMS_NEAR: usize = 8;

/// The test programs, and the mutants that are not in them.
pub struct Built {
    pub programs: Vec<PathBuf>,
    pub left_out: BTreeSet<usize>,
}

/// Copies the project, puts the mutants in, and builds; a mutant that the compiler takes exception to is left out.
pub fn build(project: &Path, scratch: &Path, mutants: &[Mutant], judges: &[String]) -> anyhow::Result<Built> {
    copy(project, scratch, mutants)?;
    let mut left_out = BTreeSet::new();
    loop {
        put_in(project, scratch, mutants, &mut left_out)?;
        let errors = errors(scratch)?;
        if errors.is_empty() {
            break;
        }
        let mut named = BTreeSet::new();
        for error in &errors {
            let found = mutants_of(scratch, error)?;
            if found.is_empty() {
                eprintln!("{}", error["rendered"].as_str().unwrap_or_default());
            }
            named.extend(found);
        }
        let before = left_out.len();
        left_out.extend(named);
        ensure!(left_out.len() > before, "no mutant is to blame for what does not compile");
        eprintln!("{} mutants do not compile beside the others so far", left_out.len());
    }
    Ok(Built { programs: programs(scratch, judges)?, left_out })
}

fn copy(project: &Path, scratch: &Path, mutants: &[Mutant]) -> anyhow::Result<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(project).output()?;
    ensure!(listed.status.success(), "git cannot list the project's files");
    let mutated: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
    for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        if !mutated.contains(name) && name != "src/lib.rs" && project.join(name).is_file() {
            write(&scratch.join(name), &std::fs::read(project.join(name))?)?;
        }
    }
    let lib = std::fs::read_to_string(project.join("src/lib.rs"))?;
    write(&scratch.join("src/lib.rs"), format!("{lib}\n#[allow(missing_docs)]\npub mod mutant;\n").as_bytes())?;
    write(&scratch.join("src/mutant.rs"), include_bytes!("mutant.rs"))
}

/// Writes what is not there yet, so that nothing is built again for nothing.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    std::fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn put_in(project: &Path, scratch: &Path, mutants: &[Mutant], left_out: &mut BTreeSet<usize>) -> anyhow::Result<()> {
    let mut by_file: BTreeMap<&str, BTreeMap<usize, &Mutant>> = BTreeMap::new();
    for (id, mutant) in mutants.iter().enumerate() {
        let of_file = by_file.entry(&mutant.file).or_default();
        if !left_out.contains(&id) {
            of_file.insert(id, mutant);
        }
    }
    let mut constants = BTreeSet::new();
    for (file, of_file) in &by_file {
        constants.extend(rewrite::constants(&std::fs::read_to_string(project.join(file))?, of_file)?);
    }
    for (file, of_file) in by_file {
        let source = std::fs::read_to_string(project.join(file))?;
        let (text, unplaced) = rewrite::rewrite(&source, &of_file, &constants).with_context(|| format!("in {file}"))?;
        left_out.extend(unplaced);
        write(&scratch.join(file), text.as_bytes())?;
    }
    Ok(())
}

/// In the build directory that is named for it, or in one of its own.
fn cargo(scratch: &Path, arguments: &[&str]) -> anyhow::Result<(bool, Vec<Value>)> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| scratch.join("target"), PathBuf::from);
    let output = Command::new("cargo")
        .args(arguments)
        .args(["--locked", "--message-format=json"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(scratch)
        .stderr(Stdio::inherit())
        .output()?;
    let lines = String::from_utf8(output.stdout)?;
    let messages = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((output.status.success(), messages))
}

fn errors(scratch: &Path) -> anyhow::Result<Vec<Value>> {
    let (_, messages) = cargo(scratch, &["check", "--lib"])?;
    let of_compiler = messages.into_iter().map(|message| message["message"].clone());
    Ok(of_compiler.filter(|message| message["level"] == "error" && message["spans"][0].is_object()).collect())
}

/// The mutants between whose marks an error lies; where it lies between none, those of the nearest line before.
fn mutants_of(scratch: &Path, error: &Value) -> anyhow::Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    let mut near = BTreeSet::new();
    let mut spans: Vec<&Value> = error["spans"].as_array().into_iter().flatten().collect();
    spans.sort_by_key(|span| !span["is_primary"].as_bool().unwrap_or_default());
    for span in spans {
        let file = scratch.join(span["file_name"].as_str().unwrap_or_default());
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let place = |key: &str| span[key].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or_default();
        let (from, to) = (place("byte_start"), place("byte_end"));
        let all = marks(&text);
        found.extend(all.iter().filter(|(_, range)| from < range.end && to > range.start).map(|(id, _)| *id));
        if !found.is_empty() {
            return Ok(found);
        }
        let line = |at: usize| text[..at].matches('\n').count();
        if error["code"]["code"] == "E0004" {
            // An arm that is not there any more leaves a hole that shows at the head of the match.
            let is_arm = |range: &Range<usize>| text[range.clone()].ends_with("&& ");
            let is_near =
                |range: &Range<usize>| (1..=ARMS_NEAR).contains(&line(range.start).saturating_sub(line(from)));
            near.extend(all.iter().filter(|(_, range)| is_arm(range) && is_near(range)).map(|(id, _)| *id));
        } else if let Some((_, last)) = all.iter().rfind(|(_, range)| range.start <= to) {
            near.extend(all.iter().filter(|(_, range)| line(range.start) == line(last.start)).map(|(id, _)| *id));
        }
    }
    Ok(near)
}

fn marks(text: &str) -> Vec<(usize, Range<usize>)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("/*<m") {
        let digits: String = text[start + 4..].chars().take_while(char::is_ascii_digit).collect();
        let Ok(id) = digits.parse() else { continue };
        let Some(length) = text[start..].find(&format!("/*m{id}>*/")) else { continue };
        found.push((id, start..start + length));
    }
    found
}

fn programs(scratch: &Path, judges: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut arguments = vec!["test", "--no-run"];
    for judge in judges {
        match judge.as_str() {
            "lib" => arguments.push("--lib"),
            name => arguments.extend(["--test", name]),
        }
    }
    let (is_built, messages) = cargo(scratch, &arguments)?;
    if !is_built {
        for message in &messages {
            eprint!("{}", message["message"]["rendered"].as_str().unwrap_or_default());
        }
        bail!("the tests do not compile with the mutants");
    }
    let programs = messages.iter().filter(|message| message["profile"]["test"] == true);
    Ok(programs.filter_map(|message| message["executable"].as_str()).map(PathBuf::from).collect())
}
