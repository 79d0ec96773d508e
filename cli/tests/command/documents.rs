//! The documents say what is true: commands run and answer as shown, paths exist.

use super::{root, words};
use std::path::{Path, PathBuf};
use std::process::Command;

/// All documents, by path.
fn documents() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                collect(&path, found);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    collect(&root(), &mut paths);
    paths.sort();
    assert!(paths.len() > 10, "{paths:?}");
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).expect("a document"));
    paths.into_iter().map(read).collect()
}

/// The fenced blocks of a document: line, language, text.
fn blocks(text: &str) -> Vec<(usize, String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for (i, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((i + 1, language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, _, body)), None) => *body += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a code block is not closed");
    blocks
}

/// Whether text is as expected, where `…` stands for anything within a line.
pub(super) fn matches(expected: &str, got: &str) -> bool {
    let line = |(expected, got): (&str, &str)| {
        let mut rest = got;
        let parts: Vec<&str> = expected.split('…').collect();
        for (i, part) in parts.iter().enumerate() {
            let at = match (i, i + 1 == parts.len()) {
                (0, true) => (rest == *part).then_some(0),
                (0, false) => rest.starts_with(part).then_some(0),
                (_, true) => rest.ends_with(part).then(|| rest.len() - part.len()),
                (_, false) => rest.find(part),
            };
            match at {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    };
    let (expected, got) = (expected.trim_end(), got.trim_end());
    expected.lines().count() == got.lines().count() && expected.lines().zip(got.lines()).all(line)
}

#[test]
fn commands_run_and_answer_as_shown() {
    const CARGO: &str = "cargo run -q --release --bin ebpfvm -- ";
    let mut ran = 0;
    for (path, text) in documents() {
        let blocks = blocks(&text);
        for (i, (line, language, body)) in blocks.iter().enumerate() {
            if language != "sh" {
                continue;
            }
            let shown = blocks.get(i + 1).filter(|(at, language, _)| {
                language == "text" && *at == line + body.lines().count() + 2
            });
            let mut output = String::new();
            for command in body.lines() {
                let Some(args) =
                    command.strip_prefix("ebpfvm ").or_else(|| command.strip_prefix(CARGO))
                else {
                    continue;
                };
                // What a comment after the command says is for people.
                let args = args.split("  #").next().unwrap_or(args);
                let result = Command::new(env!("CARGO_BIN_EXE_ebpfvm"))
                    .args(words(args))
                    .current_dir(root())
                    .output()
                    .expect("the command starts");
                let code = result.status.code();
                let place = format!("{}:{line}: {command}", path.display());
                output += &String::from_utf8_lossy(&result.stdout);
                output += &String::from_utf8_lossy(&result.stderr);
                assert!(matches!(code, Some(0 | 1)), "{place}: exit {code:?}\n{output}");
                ran += 1;
            }
            if let Some((at, _, expected)) = shown {
                let place = format!("{}:{at}", path.display());
                assert!(
                    matches(expected, &output),
                    "{place}: shown\n{expected}\nbut it is\n{output}"
                );
            }
        }
    }
    assert!(ran >= 10, "only {ran} commands");
}

#[test]
fn links_lead_to_files() {
    for (path, text) in documents() {
        for (i, line) in text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if target.contains("://") || target.starts_with('#') {
                    continue;
                }
                let file = target.split('#').next().unwrap_or(target);
                let to = path.parent().expect("a folder").join(file);
                assert!(to.exists(), "{}:{}: {target} does not exist", path.display(), i + 1);
            }
        }
    }
}

#[test]
fn paths_in_documents_exist() {
    let root = root();
    // What a build leaves in `target` depends on which builds there were.
    let is_folder = |name: &str| !name.is_empty() && name != "target" && root.join(name).is_dir();
    let mut seen = 0;
    for (path, text) in documents() {
        for (i, line) in text.lines().enumerate() {
            for token in line.split('`').skip(1).step_by(2) {
                let plain = token.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
                let folder = token.split('/').next().unwrap_or_default();
                if !plain || !token.contains('/') || !is_folder(folder) {
                    continue;
                }
                let place = format!("{}:{}", path.display(), i + 1);
                assert!(root.join(token).exists(), "{place}: {token} does not exist");
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "only {seen} paths");
}
