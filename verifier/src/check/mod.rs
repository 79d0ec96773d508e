//! Whether the needs of an instruction are met. Nothing here changes what a register holds.
