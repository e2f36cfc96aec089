//! Which mutant is on, of those that are built into this program.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

static ON: OnceLock<Option<u32>> = OnceLock::new();
static REACHED: OnceLock<Option<Mutex<(std::fs::File, HashSet<u32>)>>> = OnceLock::new();

/// Whether it is this one.
pub fn is(id: u32) -> bool {
    let on = *ON.get_or_init(|| std::env::var("MUTANT").ok().and_then(|id| id.parse().ok()));
    if let Some(on) = on {
        return on == id;
    }
    note(id);
    false
}

/// Notes that this mutant would have been met, where that is asked.
fn note(id: u32) {
    let open = || std::env::var_os("MUTANTS_REACHED").and_then(|path| std::fs::File::create(path).ok());
    let Some(reached) = REACHED.get_or_init(|| open().map(|file| Mutex::new((file, HashSet::new())))) else { return };
    let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
    if reached.1.insert(id) {
        let _ = writeln!(reached.0, "{id}");
    }
}
