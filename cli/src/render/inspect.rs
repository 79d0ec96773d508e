//! What an object holds, as text.

use super::style::{self, paint};
use crate::model::inspect::{Global, Inspection, MapReport, Need, Needs, ProgramReport};
use ebpfvm_loader::needs::NeedKind;
use ebpfvm_spec::btf::Btf;
use std::fmt::Write;

/// The whole report. `relocations` adds what each instruction refers to.
pub(crate) fn text(inspection: &Inspection, btf: Option<&Btf>, relocations: bool) -> String {
    // Writing to a String does not fail.
    let mut text = String::new();
    let Inspection { file, byte_order, license, .. } = inspection;
    let license =
        if license.is_empty() { "no licence".into() } else { format!("licence {license}") };
    let _ = writeln!(text, "{file}: {byte_order}-endian, {license}");
    heading(&mut text, "Programs", inspection.programs.len());
    inspection.programs.iter().for_each(|p| program(&mut text, p, relocations));
    let declared: Vec<&MapReport> =
        inspection.maps.iter().filter(|map| map.section.is_none()).collect();
    heading(&mut text, "Maps", declared.len());
    declared.iter().for_each(|m| map(&mut text, m));
    heading(&mut text, "Globals", inspection.globals.len());
    inspection.globals.iter().for_each(|g| global(&mut text, btf, g));
    heading(&mut text, "Externs", inspection.externs.len());
    for item in &inspection.externs {
        let _ = writeln!(text, "  {}  {};", item.section, item.declaration);
    }
    if let Some(btf) = &inspection.btf {
        heading(&mut text, "Types", btf.types);
        let kinds: Vec<String> = btf.kinds.iter().map(|(k, n)| format!("{n} {k}")).collect();
        let _ = writeln!(text, "  {}; {} bytes of names", kinds.join(", "), btf.string_bytes);
    }
    needs(&mut text, &inspection.needs);
    text
}

fn heading(text: &mut String, what: &str, count: usize) {
    if count > 0 {
        let _ = writeln!(text, "\n{}", paint(style::HEADING, format!("{what} ({count})")));
    }
}

fn program(text: &mut String, p: &ProgramReport, relocations: bool) {
    let kind = p.prog_type.unwrap_or("unknown type");
    let mut notes = vec![format!("section {}", p.section), format!("{} slots", p.slots)];
    notes.extend(p.attach_target.iter().map(|target| format!("attaches to {target}")));
    notes.extend((!p.autoload).then(|| "not loaded unless asked for".into()));
    notes.extend(p.sleepable.then(|| "sleepable".into()));
    notes.extend(p.frags.then(|| "several buffers".into()));
    let _ = writeln!(text, "  {}: {kind}, {}", p.name, notes.join(", "));
    if !p.subprograms.is_empty() {
        let each = p.subprograms.iter().map(|f| {
            let linkage = if f.global { " (global)" } else { "" };
            format!("{}{linkage}", f.name)
        });
        let _ = writeln!(text, "    calls {}", each.collect::<Vec<_>>().join(", "));
    }
    for r in p.relocations.iter().filter(|_| relocations) {
        let _ = writeln!(text, "    {:>5}: {} {}", r.pc, r.kind, r.target);
    }
    for core in p.core.iter().filter(|_| relocations) {
        let after = core.after.map_or("not there".into(), |after| after.to_string());
        let (kind, access, before) = (&core.kind, &core.access, core.before);
        let _ = writeln!(text, "    CO-RE: {kind} of {access}: {before} -> {after}");
    }
    if let Some(error) = &p.error {
        let _ = writeln!(text, "    {} {error}", paint(style::ERROR, "cannot be linked:"));
    }
}

fn map(text: &mut String, m: &MapReport) {
    let side = |spelled: &Option<String>, bytes: u32| match spelled {
        Some(spelled) => format!("{spelled} ({bytes})"),
        None => format!("{bytes} bytes"),
    };
    let mut notes = Vec::new();
    if m.key_bytes > 0 || m.value_bytes > 0 {
        let key = side(&m.key_type, m.key_bytes);
        notes.push(format!("{key} -> {}", side(&m.value_type, m.value_bytes)));
    }
    notes.push(match m.map_type {
        "ringbuf" => format!("{} bytes", m.max_entries),
        "perf_event_array" if m.max_entries == 0 => "one slot for each CPU".into(),
        _ => format!("at most {} entries", m.max_entries),
    });
    notes.extend(m.flags.iter().map(|flags| format!("flags {flags}")));
    notes.extend(m.pinned.then(|| "pinned by name".into()));
    let _ = writeln!(text, "  {}: {}, {}", m.name, m.map_type, notes.join(", "));
    for (index, value) in &m.values {
        let _ = writeln!(text, "    {index}: {value}");
    }
}

fn global(text: &mut String, btf: Option<&Btf>, g: &Global) {
    /// Long values are for `--json`.
    const SHOWN_CHARS: usize = 60;
    let value =
        g.value.as_ref().map_or("?".into(), |v| super::maps::typed(btf, Some(g.type_id), v));
    let value = match value.chars().count() {
        0..=SHOWN_CHARS => value,
        _ => value.chars().take(SHOWN_CHARS).collect::<String>() + " ...",
    };
    let _ = writeln!(text, "  {}  {} = {value};", g.section, g.declaration);
}

fn needs(text: &mut String, needs: &Needs) {
    let _ = writeln!(text, "\n{}", paint(style::HEADING, "Needs"));
    let mut line = |what: &str, items: Vec<String>| {
        if !items.is_empty() {
            let _ = writeln!(text, "  {what:<19}{}", items.join(", "));
        }
    };
    let because = needs.because.as_ref();
    let because = because.map(|n| format!(" because of {} {} ({})", n.kind, n.name, n.site));
    line("Linux", vec![format!("{} or later{}", needs.linux, because.unwrap_or_default())]);
    let aged = |n: &Need| format!("{} ({})", n.name, n.since.as_deref().unwrap_or("unknown"));
    let needed = || needs.list.iter().filter(|n| n.optional.is_none());
    for kind in NeedKind::ALL.iter().map(|kind| kind.name()) {
        let items = needed().filter(|n| n.kind == kind).map(aged).collect();
        line(&format!("{kind}s"), items);
    }
    line("instruction level", vec![needs.cpu.into()]);
    if !needs.gpl_helpers.is_empty() {
        line("licence", vec![format!("GPL-compatible, for {}", needs.gpl_helpers.join(", "))]);
    }
    for n in needs.list.iter() {
        if let Some(why) = n.optional {
            line("optional", vec![format!("{} {}: {why}", n.kind, aged(n))]);
        }
    }
}
