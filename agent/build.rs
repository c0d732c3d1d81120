//! Keeps the relocations of the agent small: a table of them is read at each start, also by its helper process, and
//! stays resident. musl 1.2.4, which Rust brings for the agent that is shipped, reads them; a release that is linked with
//! the system's glibc needs 2.36 (Debian 12, Ubuntu 24.04), so builds for trying out are without.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
