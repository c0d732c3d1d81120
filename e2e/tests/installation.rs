//! The chart on a real node: its pods run there, and it goes only when nothing would be left behind.

// Tests may fail by panicking, also in what several of them share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "installation/chart.rs"]
mod chart;

use std::sync::{LazyLock, Mutex, PoisonError};

use chart::NAMESPACE;
use safetytwin_e2e::lab::Lab;
use safetytwin_e2e::prepare::prepared;

/// The lab of all tests, with both images on its node.
static LAB: LazyLock<Lab> = LazyLock::new(|| {
    let lab = Lab::attach_or_up("safetytwin-test", prepared().unwrap()).unwrap();
    let archives = chart::build(&lab).unwrap();
    chart::import(&lab, &archives.agent).unwrap();
    chart::import(&lab, &archives.controller).unwrap();
    lab
});

/// The tests install and uninstall the same release: one at a time.
static RELEASE: Mutex<()> = Mutex::new(());

fn installed(test: impl FnOnce(&Lab)) {
    let _one_at_a_time = RELEASE.lock().unwrap_or_else(PoisonError::into_inner);
    chart::install(&LAB, &["agent.level=full", "controller.mode=External"]).unwrap();
    test(&LAB);
}

#[test]
fn an_uninstall_is_refused_while_there_are_twins_and_goes_through_without() {
    installed(|lab| {
        let twin = r#"{"apiVersion":"safetytwin.com/v1alpha1","kind":"DigitalTwin",
            "metadata":{"name":"left-behind","namespace":"default"},
            "spec":{"hostRef":{"name":"nobody"},"className":"none"}}"#;
        lab.kubectl_with(["apply", "-f", "-"], twin).unwrap();
        let refused = chart::uninstall(lab).unwrap();
        assert!(!refused.success());
        let said = refused.stdout + &refused.stderr;
        assert!(
            said.contains("kubectl delete twin -n default left-behind"),
            "{said}"
        );
        lab.kubectl(["get", "daemonset", "safetytwin-agent", "-n", NAMESPACE])
            .unwrap();
        lab.kubectl(["delete", "twin", "left-behind", "-n=default"])
            .unwrap();
        let done = chart::uninstall(lab).unwrap();
        assert!(done.success(), "{}", done.stderr);
        assert!(
            lab.kubectl(["get", "daemonset", "safetytwin-agent", "-n", NAMESPACE])
                .is_err()
        );
        lab.kubectl(["get", "crd", "digitaltwins.safetytwin.com"])
            .unwrap();
    });
}
