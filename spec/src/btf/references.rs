//! What a type refers to: walks that need not know each kind.

use super::{Btf, Kind, Name, TypeId};

impl Btf {
    /// Calls `each` with the ids that a kind of this set refers to, in the order of its fields.
    pub fn each_reference(&self, kind: Kind, mut each: impl FnMut(TypeId)) {
        match kind {
            Kind::Void | Kind::Int { .. } | Kind::Fwd(_) | Kind::Float { .. } => {}
            Kind::Enum { .. } => {}
            Kind::Ptr(to)
            | Kind::Typedef(to)
            | Kind::Volatile(to)
            | Kind::Const(to)
            | Kind::Restrict(to)
            | Kind::Func { proto: to, .. }
            | Kind::Var { type_id: to, .. }
            | Kind::DeclTag { type_id: to, .. }
            | Kind::TypeTag { type_id: to, .. } => each(to),
            Kind::Array { element, index, .. } => {
                each(element);
                each(index);
            }
            Kind::Compound { members, .. } => {
                self.list(members).iter().for_each(|m| each(m.type_id));
            }
            Kind::FuncProto { ret, params } => {
                each(ret);
                self.list(params).iter().for_each(|p| each(p.type_id));
            }
            Kind::Datasec { vars, .. } => self.list(vars).iter().for_each(|v| each(v.type_id)),
        }
    }

    /// Calls `each` with the names within a kind of this set: of members, parameters, enumerators.
    pub fn each_name(&self, kind: Kind, each: impl FnMut(Name)) {
        match kind {
            Kind::Compound { members, .. } => {
                self.list(members).iter().map(|m| m.name).for_each(each);
            }
            Kind::Enum { values, .. } => self.list(values).iter().map(|v| v.name).for_each(each),
            Kind::FuncProto { params, .. } => {
                self.list(params).iter().map(|p| p.name).for_each(each);
            }
            _ => {}
        }
    }
}
