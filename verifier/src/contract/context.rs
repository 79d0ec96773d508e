//! Which parameters are the context: by the name of their type, or by the tag `arg:ctx`.

use super::{ContractError, Host};
use ebpfvm_spec::btf::{Btf, Compound, Kind, TypeId};
use ebpfvm_spec::{ContextTypes, TaggedContext};

/// Whether a pointer to this type is the context for its name (`btf_is_prog_ctx_type`).
pub(super) fn is_named(btf: &Btf, to: TypeId, types: &ContextTypes) -> bool {
    if is_alias(btf, to, types.alias) {
        return true;
    }
    match btf.resolve(to) {
        Ok((id, Kind::Compound { .. })) => {
            let name = btf.name(id);
            !name.is_empty() && types.names.iter().any(|known| known == name)
        }
        _ => false,
    }
}

/// Whether it is the typedef, perhaps qualified.
fn is_alias(btf: &Btf, to: TypeId, alias: Option<&str>) -> bool {
    let Some(alias) = alias else { return false };
    match btf.unqualified(to) {
        Ok((id, Kind::Typedef(_))) => btf.name(id) == alias,
        _ => false,
    }
}

/// Whether a parameter with the tag points to something that may be the context
/// (`btf_validate_prog_ctx_type`).
pub(super) fn check_tagged(
    btf: &Btf,
    to: TypeId,
    arg: usize,
    host: Host<'_>,
) -> Result<(), ContractError> {
    let types = host.context;
    if is_alias(btf, to, types.tagged_alias) {
        return Ok(());
    }
    let (id, kind) = btf.resolve(to).map_err(|_| ContractError::NoContextName { arg })?;
    if kind == Kind::Void {
        return Ok(());
    }
    let name = btf.name(id);
    if name.is_empty() {
        return Err(ContractError::NoContextName { arg });
    }
    let is_struct = matches!(kind, Kind::Compound { compound: Compound::Struct, .. });
    let fits = |form: TaggedContext| match form {
        TaggedContext::Struct(known) => is_struct && name == known,
        TaggedContext::StructPrefix(start) => is_struct && name.starts_with(start),
        TaggedContext::Word => matches!(kind, Kind::Int { bytes: 8, .. }),
        TaggedContext::Anything => true,
    };
    let mut rules = types.tagged.iter().filter(|r| r.attach_types.contains(host.attach_type));
    if rules.any(|rule| fits(rule.form)) {
        return Ok(());
    }
    match &types.layout {
        None => Err(ContractError::NotVoid { arg }),
        Some(layout) if is_struct && name == layout => Ok(()),
        Some(layout) => Err(ContractError::OtherContext { arg, name: layout.to_string() }),
    }
}
