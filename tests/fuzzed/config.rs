//! `usaged.toml`.

use usaged::config::{self, Environment, Paths, Reading};

/// The file with these bytes is read, or every fault of it is named.
pub(crate) fn read(bytes: &[u8]) {
    thread_local! {
        static DIR: tempfile::TempDir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    }
    DIR.with(|dir| {
        let file = dir.path().join("usaged.toml");
        std::fs::write(&file, bytes).unwrap();
        let (state, runtime) = (dir.path().to_owned(), dir.path().join("run"));
        let paths = Paths { state, runtime, config: file, reading: Reading::Named };
        match config::load(&paths, &Environment::of(&[], None)) {
            Ok(loaded) => assert!(!format!("{loaded:?}").is_empty()),
            Err(faults) => assert!(faults.to_string().contains("usaged.toml"), "{faults}"),
        }
    });
}
