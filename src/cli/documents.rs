//! Every command that a document tells somebody to type is one that is taken.

use std::path::Path;

use clap::Parser as _;

use super::Args;

/// The commands of a document's shell snippets, words apart; of a pipe or a list, each part.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for block in text.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap().replace("\\\n", " ");
        for line in block.lines() {
            let line = line.split(" #").next().unwrap();
            found.extend(line.split(['|', ';', '&']).map(words).filter(|words| !words.is_empty()));
        }
    }
    found
}

/// Without quotes, redirections and what runs it.
fn words(part: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut is_quoted, mut is_new) = (false, true);
    for c in part.trim().chars() {
        match c {
            '"' | '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => is_new = true,
            c if is_new => {
                words.push(c.to_string());
                is_new = false;
            }
            c => words.last_mut().unwrap().push(c),
        }
    }
    let words = words.into_iter().skip_while(|word| word == "sudo" || word.contains('='));
    words.take_while(|word| !word.starts_with(['<', '>'])).map(|word| filled(&word)).collect()
}

/// With something in place of what the reader fills in.
fn filled(word: &str) -> String {
    match word {
        "$customer" => "cus_X1".to_owned(),
        "$subscription" => "sub_X1".to_owned(),
        _ => word.replace('…', "X1"),
    }
}

#[test]
fn every_command_in_the_documents_is_one_that_is_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut count = 0;
    for document in documents.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|e| e == "md"))
    {
        for words in commands(&std::fs::read_to_string(&document).unwrap()) {
            let taken = match words.first().map(String::as_str) {
                Some("usagectl") => Args::try_parse_from(&words).map(drop),
                Some("usaged") => crate::daemon::command().try_get_matches_from(&words).map(drop),
                _ => continue,
            };
            count += 1;
            if let Err(why) = taken {
                panic!("{}: {words:?}: {why}", document.display());
            }
        }
    }
    assert!(count > 20, "only {count} were found");
}
