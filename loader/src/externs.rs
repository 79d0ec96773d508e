//! Symbols that the object does not define: values of the kernel's configuration, which become a map
//! of their own, and functions and variables of the kernel, which the target's types tell.

use crate::elf::{Elf, Home};
use crate::error::{ExternProblem, Problem, Result};
use crate::kconfig::Kconfig;
use crate::kernel_symbols::SymbolAddress;
use crate::object::LinkOptions;
use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::btf::{Btf, Kind, KindTag, Linkage, TypeId, essential_name};
use std::collections::{BTreeMap, HashMap};

/// Section of configuration values.
pub(crate) const KCONFIG: &str = ".kconfig";
/// Section of kernel symbols.
const KSYMS: &str = ".ksyms";
/// Largest configuration value in bytes; the kernel's strings are shorter.
const MAX_VALUE_BYTES: u64 = 4096;
/// Most bytes that configuration values may take together; nothing in the file vouches for them.
const MAX_CONFIG_BYTES: u32 = 1 << 20;
/// Helper number of calls to weak kernel functions that the target lacks, plus the index of the
/// extern (libbpf's `POISON_CALL_KFUNC_BASE`).
pub const POISON_KFUNC: i32 = 2_002_000_000;

/// What an extern symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExternKind {
    /// A value of the kernel's configuration, at an offset of the `.kconfig` map.
    Config { type_id: TypeId, offset: u32, bytes: u32, has_value: bool },
    /// A kernel variable; without a type only its address is asked for.
    Variable { type_id: Option<TypeId> },
    /// A kernel function with its prototype.
    Function { proto: TypeId },
    /// The types do not tell.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Extern {
    pub(crate) name: String,
    pub(crate) kind: ExternKind,
    pub(crate) is_weak: bool,
}

/// What a reference to an extern becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// An offset in the `.kconfig` map.
    Config(u32),
    /// A function of the target.
    Function(TypeId),
    /// A variable of the target.
    Variable(TypeId),
    /// A kernel symbol without a type: its address.
    Address(u64),
    /// A weak symbol that the target lacks; the index of the extern.
    Absent(u32),
}

/// All extern symbols, in libbpf's order: configuration values by alignment, size and name, then the
/// others by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Externs {
    pub(crate) list: Vec<Extern>,
    by_symbol: BTreeMap<usize, usize>,
    /// Size of the `.kconfig` map in bytes; 0 if there is none.
    pub(crate) config_bytes: u32,
}

impl Externs {
    pub(crate) fn read(elf: &Elf<'_>, btf: Option<&Btf>) -> Result<Externs> {
        let homes = btf.map(homes).unwrap_or_default();
        let mut found = Vec::new();
        for (index, symbol) in elf.symbols.iter().enumerate() {
            if symbol.home != Home::Undefined || symbol.name.is_empty() || symbol.is_local {
                continue;
            }
            let kind =
                btf.map_or(Ok(ExternKind::Unknown), |b| classify(b, &homes, &symbol.name))?;
            let (name, is_weak) = (symbol.name.clone(), symbol.is_weak);
            found.push((index, Extern { name, kind, is_weak }));
        }
        found.sort_by_cached_key(|(_, e)| {
            let place = match (e.kind, btf) {
                (ExternKind::Config { type_id, bytes, .. }, Some(btf)) => {
                    (0, u32::MAX - btf.align_of(type_id).unwrap_or(1), bytes)
                }
                _ => (1, 0, 0),
            };
            (place, e.name.clone())
        });
        let mut externs = Externs::default();
        for (symbol, mut e) in found {
            if let (ExternKind::Config { type_id, offset, bytes, .. }, Some(btf)) =
                (&mut e.kind, btf)
            {
                let align = btf.align_of(*type_id).unwrap_or(1).max(1);
                *offset = externs.config_bytes.next_multiple_of(align);
                externs.config_bytes = *offset + *bytes;
                if externs.config_bytes > MAX_CONFIG_BYTES {
                    let (bytes, limit) = (externs.config_bytes.into(), MAX_CONFIG_BYTES.into());
                    return Err(Problem::DataTooLarge { bytes, limit }.in_section(KCONFIG));
                }
            }
            externs.by_symbol.insert(symbol, externs.list.len());
            externs.list.push(e);
        }
        Ok(externs)
    }

    /// The content of the `.kconfig` map. Notes which variables have a value.
    pub(crate) fn fill(
        &mut self,
        btf: &Btf,
        config: &Kconfig,
        order: ByteOrder,
    ) -> Result<Vec<u8>> {
        let mut data = vec![0; self.config_bytes as usize];
        for e in &mut self.list {
            let ExternKind::Config { type_id, offset, bytes, has_value } = &mut e.kind else {
                continue;
            };
            let place = &mut data[*offset as usize..][..*bytes as usize];
            *has_value = config.write(btf, *type_id, &e.name, order, place).map_err(|problem| {
                let (symbol, problem) = (e.name.clone(), ExternProblem::Config(problem));
                Problem::Extern { symbol, problem }.in_section(KCONFIG)
            })?;
        }
        Ok(data)
    }

    /// What a reference to this undefined symbol becomes.
    pub(crate) fn resolve(
        &self,
        symbol: usize,
        btf: Option<&Btf>,
        options: &LinkOptions<'_>,
    ) -> std::result::Result<Resolved, ExternProblem> {
        let (Some(index), Some(btf)) = (self.by_symbol.get(&symbol), btf) else {
            return Err(ExternProblem::Unknown);
        };
        let e = &self.list[*index];
        let absent = Resolved::Absent(*index as u32);
        let (wanted, tag) = match e.kind {
            ExternKind::Unknown => return Err(ExternProblem::Unknown),
            ExternKind::Config { offset, has_value, .. } => {
                return if has_value || e.is_weak {
                    Ok(Resolved::Config(offset))
                } else {
                    Err(ExternProblem::NoValue)
                };
            }
            ExternKind::Variable { type_id: None } => {
                return match options.symbols.map(|s| s.address(&e.name)) {
                    Some(SymbolAddress::At(address)) => Ok(Resolved::Address(address)),
                    Some(SymbolAddress::Ambiguous) => Err(ExternProblem::TwoAddresses),
                    _ if e.is_weak => Ok(absent),
                    Some(SymbolAddress::Absent) => Err(ExternProblem::NotFound(what(e.kind))),
                    None => Err(ExternProblem::Address),
                };
            }
            ExternKind::Variable { type_id: Some(id) } => (id, KindTag::Var),
            ExternKind::Function { proto } => (proto, KindTag::Func),
        };
        let target = match options.target_btf {
            Some(target) => target,
            None if e.is_weak => return Ok(absent),
            None => return Err(ExternProblem::NoTarget(what(e.kind))),
        };
        let Some(id) = target.find(essential_name(&e.name), tag) else {
            return if e.is_weak { Ok(absent) } else { Err(ExternProblem::NotFound(what(e.kind))) };
        };
        let found = match target.kind(id) {
            Some(Kind::Func { proto, .. }) => proto,
            Some(Kind::Var { type_id, .. }) => type_id,
            _ => return Err(ExternProblem::NotFound(what(e.kind))),
        };
        let fits = crate::core_relo::compatible((btf, wanted), (target, found));
        match (fits, e.is_weak, tag) {
            (false, true, KindTag::Func) => Ok(absent),
            (false, ..) => Err(ExternProblem::Mismatch(what(e.kind))),
            (true, _, KindTag::Func) => Ok(Resolved::Function(id)),
            (true, ..) => Ok(Resolved::Variable(id)),
        }
    }
}

fn what(kind: ExternKind) -> &'static str {
    match kind {
        ExternKind::Config { .. } => "value of the kernel's configuration",
        ExternKind::Variable { .. } => "kernel variable",
        ExternKind::Function { .. } => "kernel function",
        ExternKind::Unknown => "symbol",
    }
}

/// The data section that each variable or function is in.
fn homes(btf: &Btf) -> HashMap<TypeId, String> {
    let mut homes = HashMap::new();
    for (id, t) in btf.iter() {
        let Kind::Datasec { vars, .. } = t.kind else { continue };
        let name = btf.name(id);
        if name == KCONFIG || name == KSYMS {
            homes.extend(btf.list(vars).iter().map(|v| (v.type_id, name.to_string())));
        }
    }
    homes
}

fn classify(btf: &Btf, homes: &HashMap<TypeId, String>, name: &str) -> Result<ExternKind> {
    let is_extern = |id: &TypeId| {
        matches!(
            btf.kind(*id),
            Some(
                Kind::Var { linkage: Linkage::Extern, .. }
                    | Kind::Func { linkage: Linkage::Extern, .. }
            )
        )
    };
    let Some(id) = btf.named(name).find(is_extern) else { return Ok(ExternKind::Unknown) };
    let home = homes.get(&id).map(String::as_str);
    Ok(match (home, btf.kind(id)) {
        (Some(KSYMS), Some(Kind::Func { proto, .. })) => ExternKind::Function { proto },
        (Some(KSYMS), Some(Kind::Var { type_id, .. })) => {
            let resolved = btf.resolve(type_id).ok().map(|(id, _)| id);
            ExternKind::Variable { type_id: resolved.filter(|id| *id != TypeId::VOID) }
        }
        (Some(KCONFIG), Some(Kind::Var { type_id, .. })) => {
            let bytes = btf.size_of(type_id).unwrap_or(0);
            if bytes == 0 || bytes > MAX_VALUE_BYTES {
                let (what, found) = ("the size of a configuration value", bytes);
                let expected = format!("1 to {MAX_VALUE_BYTES}");
                return Err(Problem::Size { what, found, expected }.in_section(KCONFIG));
            }
            ExternKind::Config { type_id, offset: 0, bytes: bytes as u32, has_value: false }
        }
        _ => ExternKind::Unknown,
    })
}
