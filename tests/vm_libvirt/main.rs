//! The libvirt backend on a real libvirtd and QEMU (emulation).
//!
//! One libvirtd serves all tests, one after the other. Needs root and the packages that a missing
//! program's message names.
#![cfg(feature = "libvirt")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use lab::{BASE, Lab, spec};
use safetytwin::vm::conformance;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libvirt_conforms_and_leaves_nothing_behind() {
    let lab = Lab::start();
    let vm = lab.vm(spec(1));
    if let Err(error) = conformance::run(vm.as_ref()).await {
        panic!("{error}\nfiles: {:?}", lab.files());
    }
    assert_eq!(lab.files(), [BASE]);
}
