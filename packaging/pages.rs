//! usage: pages DIRECTORY
//!
//! Writes the man pages and the completions of a package, from the command lines themselves and from `docs/`, so that
//! neither can say anything else than they do.

use std::fmt::Arguments;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::{Shell, generate};

const CONFIGURATION: &str = include_str!("../docs/configuration.md");
const USAGECTL: &str = include_str!("../docs/usagectl.md");
const USAGED: &str = include_str!("man/usaged.md");

fn main() -> io::Result<()> {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [to] = words.as_slice() else { return Err(io::Error::other("usage: pages DIRECTORY")) };
    for (command, section, prose) in [
        (usaged::daemon::command(), "8", USAGED),
        (usaged::cli::Args::command(), "1", from_heading(USAGECTL, "## Which daemon")),
    ] {
        let command = command.disable_help_subcommand(true);
        let name = command.get_name().to_owned();
        complete(&command, &name, to)?;
        let man = to.join(format!("man/man{section}"));
        write(&man.join(format!("{name}.{section}")), &page(command, section, prose)?)?;
    }
    let mut text = title("usaged.toml", "5");
    text += ".SH NAME\nusaged.toml \\- configuration of usaged\n.SH DESCRIPTION\n";
    text += &roff(from_line(CONFIGURATION, 1));
    write(&to.join("man/man5/usaged.toml.5"), text.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, bytes)
}

fn complete(command: &Command, name: &str, to: &Path) -> io::Result<()> {
    for (shell, file) in [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
    ] {
        let mut script = Vec::new();
        generate(shell, &mut command.clone(), name, &mut script);
        write(&to.join(file), &script)?;
    }
    Ok(())
}

fn from_heading<'a>(text: &'a str, heading: &str) -> &'a str {
    text.find(heading).and_then(|at| text.get(at..)).unwrap_or(text)
}

fn from_line(text: &str, line: usize) -> &str {
    let at: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    text.get(at..).unwrap_or_default()
}

fn title(name: &str, section: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {} {section} \"\" \"usaged {version}\" \"usaged\"\n", name.to_uppercase())
}

fn page(command: Command, section: &str, prose: &str) -> io::Result<Vec<u8>> {
    let mut out = title(command.get_name(), section).into_bytes();
    let commands: String = command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(subcommand).collect();
    let man = clap_mangen::Man::new(command.after_help(""));
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    out.extend(format!(".SH COMMANDS\n{commands}").bytes());
    out.extend(roff(prose).bytes());
    Ok(out)
}

fn subcommand(command: &Command) -> String {
    let mut text = format!(".SS {}\n", escape(command.get_name()));
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    add(&mut text, format_args!("{}.\n", escape(&about)));
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        add(&mut text, format_args!(".TP\n{}\n{}\n", form(arg), escape(&help)));
    }
    text
}

/// As `--id NAME`.
fn form(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().iter().map(|name| format!("\\fI{}\\fR", escape(name)));
    let takes_values = arg.get_action().takes_values();
    let long = arg.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", escape(long)));
    long.into_iter().chain(values.filter(|_| takes_values)).collect::<Vec<_>>().join(" ")
}

/// The Markdown that our documents are written in: headings, paragraphs, lists, tables, code.
fn roff(markdown: &str) -> String {
    let mut out = String::new();
    let mut lines = markdown.lines().peekable();
    let mut header: Option<Vec<String>> = None;
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(code) = Code::begins(line) {
            out += ".PP\n.RS 4\n.nf\n";
            let first = (code == Code::Indented).then_some(line);
            let rest = std::iter::from_fn(|| lines.next_if(|next| code.goes_on(next)));
            for line in first.into_iter().chain(rest) {
                let text = if code == Code::Indented { line.strip_prefix("    ").unwrap_or(line) } else { line };
                add(&mut out, format_args!("{}\n", protect(escape(text))));
            }
            lines.next_if(|next| next.starts_with(FENCE));
            out += ".fi\n.RE\n";
        } else if let Some(heading) = trimmed.strip_prefix("### ") {
            add(&mut out, format_args!(".SS {}\n", inline(heading)));
        } else if let Some(heading) = trimmed.strip_prefix("## ") {
            add(&mut out, format_args!(".SH {}\n", escape(&heading.replace('`', "").to_uppercase())));
        } else if trimmed.starts_with('|') {
            let cells = cells(trimmed);
            match &header {
                None => header = Some(cells),
                Some(_) if trimmed.starts_with("|--") || trimmed.starts_with("| --") => {}
                Some(names) => out += &row(names, &cells),
            }
            continue;
        } else if let Some(item) = trimmed.strip_prefix("- ") {
            add(&mut out, format_args!(".IP \\(bu 2\n{}\n", inline(item)));
        } else if let Some((number, item)) = trimmed.split_once(". ").filter(|(n, _)| n.parse::<u8>().is_ok()) {
            add(&mut out, format_args!(".IP {number}. 3\n{}\n", inline(item)));
        } else if trimmed.is_empty() {
            // A new paragraph, unless what follows begins with a request of its own.
            if lines.peek().is_some_and(|next| next.starts_with(|c: char| c.is_alphabetic() || c == '`' || c == '*')) {
                out += ".PP\n";
            }
        } else {
            add(&mut out, format_args!("{}\n", inline(trimmed)));
        }
        header = None;
    }
    out
}

const FENCE: &str = "```";

/// How a block of code is marked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    Fenced,
    Indented,
}

impl Code {
    fn begins(line: &str) -> Option<Self> {
        if line.starts_with(FENCE) {
            return Some(Self::Fenced);
        }
        line.starts_with("    ").then_some(Self::Indented)
    }

    fn goes_on(self, line: &str) -> bool {
        match self {
            Self::Fenced => !line.starts_with(FENCE),
            Self::Indented => line.starts_with("    "),
        }
    }
}

fn cells(line: &str) -> Vec<String> {
    let line = line.replace("\\|", "\u{1}");
    let inner = line.trim_matches('|');
    inner.split('|').map(|cell| inline(&cell.trim().replace('\u{1}', "|"))).collect()
}

/// A row of a table: what it is about, then what each column says of it.
fn row(names: &[String], cells: &[String]) -> String {
    let about = cells.first().map(String::as_str).unwrap_or_default();
    let said: Vec<String> = names
        .iter()
        .zip(cells)
        .skip(1)
        .filter(|(_, cell)| !cell.is_empty())
        .map(|(name, cell)| if name.is_empty() { cell.clone() } else { format!("{name}: {cell}") })
        .collect();
    format!(".TP\n{}\n{}\n", if about.is_empty() { "\\&" } else { about }, protect(said.join("; ")))
}

/// Code becomes bold, emphasis goes, links keep their words.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (n, part) in text.split('`').enumerate() {
        if n % 2 == 1 {
            add(&mut out, format_args!("\\fB{}\\fR", escape(part)));
        } else {
            out += &escape(&without_links(&part.replace("**", "")));
        }
    }
    protect(out)
}

fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out += before;
        if let Some((words, tail)) = link(after) {
            out += words;
            rest = tail;
        } else {
            out.push('[');
            rest = after;
        }
    }
    out + rest
}

/// The words of a link, and what follows it.
fn link(after: &str) -> Option<(&str, &str)> {
    let (words, tail) = after.split_once("](")?;
    let (_, tail) = tail.split_once(')')?;
    Some((words, tail))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('…', "...").replace('µ', "u")
}

/// A line that begins with a dot or an apostrophe would be a request.
fn protect(line: String) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

fn add(text: &mut String, more: Arguments<'_>) {
    *text += &more.to_string();
}
