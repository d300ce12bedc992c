//! The simulator: its library.
