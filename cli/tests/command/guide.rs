//! `docs/cli.md` is what the command does: every `$ ebpfvm` line in it is run, and what it shows
//! below is what comes.

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
fn the_guide_shows_what_comes() {
    let text = std::fs::read_to_string(root().join("docs/cli.md")).expect("docs/cli.md");
    let sessions = sessions(&text);
    assert!(sessions.len() >= 8, "{} commands", sessions.len());
    for (command, shown) in sessions {
        let words = words(&command);
        assert_eq!(words[0], "ebpfvm", "{command}");
        let ended = ebpfvm_on(&words[1..].iter().map(String::as_str).collect::<Vec<_>>(), b"");
        // Long listings are cut with an ellipsis.
        let got = stable(&(ended.out + &ended.err));
        match stable(&shown).strip_suffix("...\n") {
            Some(start) => assert!(got.starts_with(start), "{command}\n{got}"),
            None => assert_eq!(got, stable(&shown), "{command}"),
        }
    }
}
