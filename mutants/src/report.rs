//! What came out, held against the list of what is explained.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::list::Mutant;

/// Prints the figures and every survivor that is not explained; whether there is none.
pub fn report(
    scratch: &Path,
    mutants: &[Mutant],
    left_out: &BTreeSet<usize>,
    verdicts: &BTreeMap<usize, String>,
    explained: &str,
) -> anyhow::Result<bool> {
    let count = |how: &str| verdicts.values().filter(|verdict| verdict.starts_with(how)).count();
    let lives = |verdict: &str| verdict == "survived" || verdict == "unmet";
    let survivors: Vec<&Mutant> = verdicts.iter().filter(|(_, how)| lives(how)).map(|(id, _)| &mutants[*id]).collect();
    let (known, open): (Vec<&Mutant>, Vec<&Mutant>) =
        survivors.iter().partition(|mutant| explained.contains(&key(mutant)));
    for mutant in &open {
        println!("SURVIVED {}", mutant.name);
    }
    let names: Vec<&str> = left_out.iter().map(|id| mutants[*id].name.as_str()).collect();
    std::fs::write(scratch.join("left-out.txt"), names.join("\n"))?;
    println!(
        "{} mutants, {} not built in: {} caught, {} timed out, {} explained, {} survived",
        mutants.len(),
        left_out.len(),
        count("caught"),
        count("timed out"),
        known.len(),
        open.len()
    );
    Ok(open.is_empty())
}

/// How the list of explained mutants names one: its file and what is changed, without the line, which moves.
fn key(mutant: &Mutant) -> String {
    let what = mutant.name.splitn(4, ':').nth(3).unwrap_or(&mutant.name).trim();
    format!("{}: {what}", mutant.file)
}
