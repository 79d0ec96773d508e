//! `docs/cli.md` and `docs/jit.md` are what the command does: every `$ ebpfvm` line in them is run, and
//! what they show below is what comes.

use super::documents::matches;
use super::{ebpfvm_on, root, stable, words};

/// The commands of a document with what they show, standard output and standard error.
fn sessions(text: &str) -> Vec<(String, String)> {
    let mut sessions: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line, line.strip_prefix("$ ")) {
            ("```console", _) => inside = true,
            ("```", _) => inside = false,
            (_, Some(command)) if inside => sessions.push((command.into(), String::new())),
            (line, None) if inside => {
                let (_, shown) = sessions.last_mut().expect("a command first");
                shown.push_str(line);
                shown.push('\n');
            }
            _ => {}
        }
    }
    sessions
}

#[test]
fn the_guides_show_what_comes() {
    for (path, least) in [("docs/cli.md", 8), ("docs/jit.md", 2)] {
        let text = std::fs::read_to_string(root().join(path)).expect(path);
        let sessions = sessions(&text);
        assert!(sessions.len() >= least, "{path}: {} commands", sessions.len());
        run(sessions);
    }
}

fn run(sessions: Vec<(String, String)>) {
    for (command, shown) in sessions {
        let words = words(&command);
        assert_eq!(words[0], "ebpfvm", "{command}");
        let ended = ebpfvm_on(&words[1..].iter().map(String::as_str).collect::<Vec<_>>(), b"");
        // Long listings are cut with an ellipsis.
        let got = stable(&(ended.out + &ended.err));
        match stable(&shown).strip_suffix("...\n") {
            Some(start) => {
                // The ellipsis may stand in a line.
                let rest = if start.ends_with('\n') { "" } else { "…" };
                let lines = start.lines().count();
                let got: String = got.lines().take(lines).map(|line| format!("{line}\n")).collect();
                assert!(matches(&format!("{start}{rest}"), &got), "{command}\n{got}");
            }
            None => assert_eq!(got, stable(&shown), "{command}"),
        }
    }
}
