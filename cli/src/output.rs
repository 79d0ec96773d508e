//! Where results go: standard output, as text or JSON.

use crate::failure::Failure;
use crate::render;
use anstream::AutoStream;
use clap::ColorChoice;
use serde::Serialize;
use std::io::{self, BufWriter, Stderr, Stdout, Write};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The standard streams. Colours reach terminals only, unless asked for.
///
/// A closed pipe, as `ebpfvm ... | head` makes it, is [`Failure::ClosedPipe`], which is silent.
pub(crate) struct Output {
    format: Format,
    out: BufWriter<AutoStream<Stdout>>,
    err: AutoStream<Stderr>,
}

impl Output {
    pub(crate) fn new(format: Format, color: ColorChoice) -> Output {
        let choice = match color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        Output {
            format,
            out: BufWriter::new(AutoStream::new(io::stdout(), choice)),
            err: AutoStream::new(io::stderr(), choice),
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes()).map_err(Failure::stdout)
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.flush()?;
        // Not through the stream that takes colours out: these bytes are no text.
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::stdout)
    }

    /// Writes a value as JSON on one line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|e| Failure::stdout(e.into()))?;
        self.text(&text)?;
        self.text("\n")
    }

    /// A place to write to for those who need one.
    pub(crate) fn writer(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::stdout)
    }

    /// Says something on standard error, in text mode only.
    pub(crate) fn note(&mut self, text: &str) {
        if self.format == Format::Text {
            // What cannot be said is not worth failing for.
            let _ = self.out.flush();
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// Writes what went wrong: to standard error as text, to standard output as JSON, or if that is
    /// what cannot be written, to standard error too.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if matches!(failure, Failure::ClosedPipe) {
            return;
        }
        match self.format {
            // What was written before belongs before the message.
            Format::Text => {
                let _ = self.flush();
                let _ = self.err.write_all(render::failure::text(failure).as_bytes());
            }
            Format::Json => {
                let report = render::failure::json(failure);
                if self.json(&report).and_then(|()| self.flush()).is_err() {
                    let _ = writeln!(self.err, "{report}");
                }
            }
        }
    }
}
