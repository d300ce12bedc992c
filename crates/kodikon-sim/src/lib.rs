//! The simulator: its library.

#![forbid(unsafe_code)]
