//! Keeps the relocations of the agent small: a table of them is read at each start, also by its helper process, and
//! stays resident. Needs glibc 2.36 (Debian 12) where it runs, as all that it is built on does.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
