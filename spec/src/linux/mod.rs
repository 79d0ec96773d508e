//! What Linux 6.18 gives to programs, as tables.

mod context_types;
mod contexts;
mod helper_names;
mod helpers;
mod kfuncs;
mod map_fields;
mod map_struct;
mod privileges;
mod release;
mod types;

pub use context_types::context_types;
pub use helper_names::{HELPER_NAMES, helper_id, helper_name};
pub use helpers::{HELPERS, ITERABLE, helpers};
pub use kfuncs::{KFUNCS, kfunc_since};
pub use map_fields::{ProgMapRefusal, check_holder, map_in_program};
pub use map_struct::{kernel_map_struct, shows_number};
pub use privileges::{Capabilities, MAX_UNPRIVILEGED_SLOTS, needed_for_map, needed_for_program};
pub use release::Release;
pub use types::{Arch, objects, prog_types, prog_types_of};
