//! Pointers that may be null become pointers or null (`mark_ptr_or_null_regs`).
