# Recipes for who works here; `just` lists them. The gate is `.ci/run` and needs none of this.

_list:
    @just --list

# What must hold before a change lands (root, Debian)
gate:
    .ci/run

# The README's own test command
test:
    cargo test

# Formatting, lints and documentation, warnings as errors
lint:
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace

# The core alone with the rules of the house
core:
    cargo test -p kodikon-core

# Every scenario of the simulator under the seeds FROM..TO
sim from="0" to="20":
    cargo run --release -p kodikon-sim -- run --seeds {{from}}..{{to}} --jobs 2

# One story of the simulator again
replay scenario seed:
    cargo run --release -p kodikon-sim -- replay --scenario {{scenario}} --seed {{seed}}

# Real processes in network namespaces (root)
netns:
    KODIKON_NETNS=require cargo test --release -p kodikon-cli --test netns

# Benchmarks with limits; factor 2 on a computer that others use too
bench factor="1":
    scripts/bench --factor {{factor}}

# The tests of what is `unsafe` under the address sanitizer, in a directory of their own: the scan, and the calls of the system
asan:
    RUSTFLAGS=-Zsanitizer=address RUSTC_BOOTSTRAP=1 cargo test --release -p kodikon-scan --lib --tests --target x86_64-unknown-linux-gnu --target-dir target/asan
    RUSTFLAGS=-Zsanitizer=address RUSTC_BOOTSTRAP=1 cargo test --release -p kodikon --lib --target x86_64-unknown-linux-gnu --target-dir target/asan sys::

# Searches beside faiss-cpu, hnswlib and usearch, on one core
rivals *flags:
    scripts/rivals {{flags}}

# The small binary
dist:
    cargo build --profile dist -p kodikon-cli

# Licences, bans and sources of the dependencies (needs `cargo install cargo-deny`)
deny:
    cargo deny check
