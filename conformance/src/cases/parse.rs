//! Files of cases.

use super::types::Types;
use super::{Case, Difference, Expectation};
use ebpfvm_asm::text::{Dialect, Symbols, assemble_with};
use ebpfvm_asm::{CallTarget, Code, Imm64, Insn, Pc};
use ebpfvm_spec::btf::Linkage;
use ebpfvm_spec::load_flags;
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{AttachType, FuncInfo, MapDef, MapFlags, MapType, ProgType, Program, linux};
use ebpfvm_verifier::Privileges;
use std::sync::Arc;

/// What begins a case.
const START: &str = "=== ";
/// What begins the line of Linux's verdict.
const LINUX: &str = "=> ";
/// What begins the line of a verdict that differs here.
const HERE: &str = "=> here: ";

/// What is wrong in a file of cases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct CaseError {
    /// The line, from 1; of code that cannot be assembled the first of the case.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// Reads the cases of a file.
///
/// # Errors
/// [`CaseError`].
pub fn parse(text: &str) -> Result<Vec<Case>, CaseError> {
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> =
        (0..lines.len()).filter(|index| lines[*index].starts_with(START)).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let case = |(start, end): (&usize, usize)| {
        let mut draft = Draft::default();
        for (index, line) in lines.iter().enumerate().take(end).skip(start + 1) {
            draft.line(line).map_err(|why| CaseError { line: index + 1, why })?;
        }
        let name = lines[*start][START.len()..].trim();
        draft.finish(name, start + 1).map_err(|why| CaseError { line: start + 1, why })
    };
    starts.iter().zip(ends).map(case).collect()
}

/// The text of a file with other expectations, one for each case; none keeps what stands there.
pub fn with_expectations(text: &str, expectations: &[Option<Expectation>]) -> String {
    let mut out = String::new();
    let mut next = expectations.iter();
    let mut pending: Option<&Expectation> = None;
    for line in text.lines() {
        if line.starts_with(START) {
            pending = next.next().and_then(Option::as_ref);
        }
        let is_verdict = line.starts_with(LINUX) && !line.starts_with(HERE);
        let is_end = line.starts_with(HERE) || line.is_empty();
        if let Some(expected) = pending.filter(|_| is_verdict || is_end) {
            out.push_str(&expected.line());
            pending = None;
            if is_verdict {
                continue;
            }
        }
        out.push_str(line);
        out.push('\n');
    }
    if let Some(expected) = pending {
        out.push_str(&expected.line());
    }
    out
}

impl Expectation {
    /// The line that says it in a file.
    pub fn line(&self) -> String {
        match self {
            Expectation::Accept { processed: None } => format!("{LINUX}accept\n"),
            Expectation::Accept { processed: Some(n) } => format!("{LINUX}accept {n}\n"),
            Expectation::Reject { message } => {
                format!("{LINUX}reject {message}").trim_end().to_owned() + "\n"
            }
        }
    }

    fn read(text: &str) -> Result<Expectation, String> {
        let (verdict, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verdict {
            "accept" if rest.is_empty() => Ok(Expectation::Accept { processed: None }),
            "accept" => Ok(Expectation::Accept { processed: Some(number(rest)?.into()) }),
            "reject" => Ok(Expectation::Reject { message: rest.into() }),
            _ => Err(format!("'{text}' is no verdict")),
        }
    }
}

/// A case while its lines are read.
#[derive(Default)]
struct Draft {
    classes: Vec<String>,
    prog_type: Option<ProgType>,
    attach_type: u32,
    flags: u32,
    license: Option<String>,
    privileges: Option<Privileges>,
    maps: Vec<DraftMap>,
    funcs: Vec<DraftFunc>,
    source: String,
    expected: Option<Expectation>,
    here: Option<Difference>,
}

struct DraftMap {
    def: MapDef,
    fields: Vec<(String, u32)>,
    /// The map that tells what inner maps look like.
    inner: Option<String>,
}

struct DraftFunc {
    name: String,
    linkage: Linkage,
    ret: String,
    params: Vec<String>,
}

fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("'{text}' is no number"))
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    let bytes = text.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    bytes.ok_or_else(|| format!("'{text}' is not hexadecimal"))
}

/// Flags of a load by name.
const FLAGS: [(&str, u32); 6] = [
    ("strict_alignment", load_flags::STRICT_ALIGNMENT),
    ("any_alignment", load_flags::ANY_ALIGNMENT),
    ("test_state_freq", load_flags::TEST_STATE_FREQ),
    ("sleepable", load_flags::SLEEPABLE),
    ("xdp_has_frags", load_flags::XDP_HAS_FRAGS),
    ("test_reg_invariants", load_flags::TEST_REG_INVARIANTS),
];

impl Draft {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.starts_with(' ') || line.ends_with(':') {
            self.source.push_str(line);
            self.source.push('\n');
            return Ok(());
        }
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix(HERE) {
            let (verdict, why) = rest.split_once(" because ").ok_or("'because' is missing")?;
            let why = why.to_string();
            self.here = Some(Difference { verdict: Expectation::read(verdict)?, why });
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix(LINUX) {
            self.expected = Some(Expectation::read(rest)?);
            return Ok(());
        }
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (key, &words[..]) {
            ("class", _) => self.classes.push(rest.into()),
            ("type", [name]) => {
                let found = ProgType::ALL.iter().find(|t| t.name() == *name);
                self.prog_type = Some(*found.ok_or_else(|| format!("no program type {name}"))?);
            }
            ("attach", [value]) => self.attach_type = number(value)?,
            ("flags", names) => {
                for name in names {
                    let flag = FLAGS.iter().find(|(known, _)| known == name);
                    self.flags |= flag.ok_or_else(|| format!("no flag {name}"))?.1;
                }
            }
            ("license", _) => self.license = Some(rest.into()),
            ("caps", names) => self.privileges = Some(privileges(names)?),
            ("map", [name, kind, key, value, entries, more @ ..]) => {
                let kind = MapType::ALL.iter().find(|t| t.name() == *kind);
                let kind = *kind.ok_or_else(|| format!("no kind of map {line}"))?;
                let def = MapDef::new(*name, kind, number(key)?, number(value)?, number(entries)?);
                let mut map = DraftMap { def, fields: Vec::new(), inner: None };
                more.iter().try_for_each(|word| map.word(word))?;
                self.maps.push(map);
            }
            ("func", [name, linkage, ret, params @ ..]) => {
                let linkage = match *linkage {
                    "static" => Linkage::Static,
                    "global" => Linkage::Global,
                    other => return Err(format!("no linkage {other}")),
                };
                let params = params.iter().map(|p| p.to_string()).collect();
                let (name, ret) = (name.to_string(), ret.to_string());
                self.funcs.push(DraftFunc { name, linkage, ret, params });
            }
            _ => return Err(format!("'{line}' is not understood")),
        }
        Ok(())
    }

    fn finish(self, name: &str, line: usize) -> Result<Case, String> {
        let prog_type = self.prog_type.ok_or("the type is missing")?;
        let code = assemble_with(&self.source, Dialect::PseudoC, &Helpers);
        let code = code.map_err(|e| e.render())?;
        let mut types = Types::new(prog_type);
        let funcs = functions(&code, &self.funcs, &mut types)?;
        let maps = maps(self.maps, &mut types)?;
        let mut program = Program::from_code("case", prog_type, code);
        program.attach_type = AttachType(self.attach_type);
        program.flags = self.flags;
        program.license = self.license.unwrap_or_else(|| "GPL".into());
        program.funcs = funcs;
        program.maps = maps;
        program.btf = types.finish()?.map(Arc::new);
        Ok(Case {
            name: name.into(),
            classes: self.classes,
            program,
            privileges: self.privileges.unwrap_or_default(),
            expected: self.expected,
            here: self.here,
            line,
        })
    }
}

impl DraftMap {
    /// A property of the map: `flags=N`, `rodata=HEX`, `inner=MAP`, `FIELD@OFFSET`.
    fn word(&mut self, word: &str) -> Result<(), String> {
        if let Some(value) = word.strip_prefix("flags=") {
            self.def.flags = MapFlags(number(value)?);
        } else if let Some(value) = word.strip_prefix("rodata=") {
            let data: Arc<[u8]> = hex(value)?.into();
            self.def.origin = MapOrigin::Section { section: ".rodata".into(), data };
            self.def.flags = MapFlags(MapFlags::RDONLY_PROG);
        } else if let Some(name) = word.strip_prefix("inner=") {
            self.inner = Some(name.into());
        } else if let Some((field, offset)) = word.split_once('@') {
            self.fields.push((field.into(), number(offset)?));
        } else {
            return Err(format!("'{word}' is no property of a map"));
        }
        Ok(())
    }
}

fn privileges(names: &[&str]) -> Result<Privileges, String> {
    let mut privileges = Privileges::NONE;
    for name in names {
        match *name {
            "bpf" => privileges.bpf = true,
            "perfmon" => privileges.perfmon = true,
            "net_admin" => privileges.net_admin = true,
            "none" => {}
            other => return Err(format!("no capability {other}")),
        }
    }
    Ok(privileges)
}

/// Helpers by their names.
struct Helpers;

impl Symbols for Helpers {
    fn helper_id(&self, name: &str) -> Option<u32> {
        linux::helper_id(name)
    }
}

/// The functions of the code: it starts one, and so does everything that is called or taken the
/// address of. Declarations are in the order of the functions; the first may be left out.
fn functions(
    code: &Code,
    declared: &[DraftFunc],
    types: &mut Types,
) -> Result<Vec<FuncInfo>, String> {
    let start = |(pc, insn): (Pc, &Insn)| match *insn {
        Insn::Call { target: CallTarget::Local { offset } } => pc.jump(offset),
        Insn::LoadImm { value: Imm64::Func { offset }, .. } => pc.jump(offset),
        _ => None,
    };
    let mut starts: Vec<Pc> = code.iter().filter_map(start).chain([Pc(0)]).collect();
    starts.sort();
    starts.dedup();
    if !declared.is_empty() && declared.len() != starts.len() {
        return Err(format!("{} functions, {} declared", starts.len(), declared.len()));
    }
    let function = |(index, start): (usize, Pc)| {
        let Some(func) = declared.get(index) else {
            let name = if index == 0 { "case".into() } else { format!("f{index}") };
            return Ok(FuncInfo { start, name, type_id: None, is_global: index == 0 });
        };
        let params: Vec<&str> = func.params.iter().map(String::as_str).collect();
        let type_id = types.function(&func.name, func.linkage, &func.ret, &params)?;
        let is_global = func.linkage == Linkage::Global;
        Ok(FuncInfo { start, name: func.name.clone(), type_id: Some(type_id), is_global })
    };
    starts.into_iter().enumerate().map(function).collect()
}

fn maps(drafts: Vec<DraftMap>, types: &mut Types) -> Result<Arc<[MapDef]>, String> {
    let mut maps: Vec<MapDef> = Vec::new();
    for draft in drafts {
        let mut def = draft.def;
        if let MapOrigin::Section { data, .. } = &mut def.origin {
            let mut bytes = data.to_vec();
            bytes.resize(def.value_bytes as usize, 0);
            *data = bytes.into();
        }
        if !draft.fields.is_empty() {
            let fields: Vec<(&str, u32)> =
                draft.fields.iter().map(|(name, offset)| (name.as_str(), *offset)).collect();
            let of_map = types.map(&def.name, def.key_bytes, def.value_bytes, &fields)?;
            (def.key_type, def.value_type) = (Some(of_map.0), Some(of_map.1));
            def.find_special(types.so_far());
        }
        if let Some(inner) = draft.inner {
            let found = maps.iter().find(|map| map.name == inner);
            let found = found.ok_or_else(|| format!("there is no map {inner} before"))?;
            def.inner = Some(Box::new(found.clone()));
        }
        maps.push(def);
    }
    Ok(maps.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "=== one\ntype xdp\nmap m array 4 8 1\nclass a b\n    r1 = map[idx:0]\n    \
                        r0 = 0\n    exit\n\n=== two\ntype xdp\nfunc two global int ctx\n\
                        func f static int\n    call f\n    exit\nf:\n    r0 = 0\n    exit\n=> accept\n";

    #[test]
    fn cases_are_read() {
        let cases = parse(TEXT).unwrap();
        assert_eq!(cases.len(), 2);
        assert_eq!((cases[0].line, cases[0].classes.as_slice()), (1, &["a b".to_string()][..]));
        assert_eq!((cases[0].program.maps[0].value_bytes, &cases[0].expected), (8, &None));
        let two = &cases[1];
        assert_eq!(two.expected, Some(Expectation::Accept { processed: None }));
        let funcs: Vec<_> =
            two.program.funcs.iter().map(|f| (f.start.0, f.name.as_str(), f.is_global)).collect();
        assert_eq!(funcs, [(0, "two", true), (2, "f", false)]);
        assert!(two.program.btf.is_some());
    }

    #[test]
    fn what_is_wrong_has_a_line() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(error("=== a\ntype xdp\nfoo 1\n"), "line 3: 'foo 1' is not understood");
        assert_eq!(error("\n=== a\n    exit\n"), "line 2: the type is missing");
    }

    #[test]
    fn expectations_are_replaced() {
        let accept = Some(Expectation::Accept { processed: Some(3) });
        let reject = Some(Expectation::Reject { message: "no".into() });
        let text = with_expectations(TEXT, &[accept.clone(), reject.clone()]);
        let again = parse(&text).unwrap();
        assert_eq!((&again[0].expected, &again[1].expected), (&accept, &reject));
        assert_eq!(with_expectations(&text, &[None, None]), text);
    }
}
