//! The library: what an embedder links.
