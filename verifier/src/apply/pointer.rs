//! Arithmetic on pointers (`adjust_ptr_min_max_vals`).
