//! The end of the demo: back to the point before the first change, and held.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{show, timed};
use crate::lab::Lab;
use crate::product::{TWINS, twin};
use crate::wait::{self, Look};

/// Restores, waits three beats and shows that nothing undid it.
pub(super) fn run(lab: &Lab) -> Result<()> {
    let point = point_before_shop(lab)?;
    let manifest = format!(
        "apiVersion: safetytwin.com/v1alpha1\nkind: TwinRestore\nmetadata: {{name: before-shop, namespace: {TWINS}}}\n\
         spec: {{twinRef: {{name: {}}}, snapshotRef: {{name: {point}}}, hold: true}}\n",
        twin::NAME
    );
    timed(&format!("restore of {point}"), || {
        lab.kubectl_with(["apply", "-f", "-"], &manifest)?;
        wait::until("the restore", Duration::from_secs(180), || {
            let restore = twin::object(lab, "twinrestore", "before-shop")?;
            let (status, reason, message) = twin::condition(&restore, "Restored");
            Ok(if status == "True" {
                Look::Ready(())
            } else {
                Look::NotYet(format!("{reason}: {message}"))
            })
        })
    })?;
    timed("three beats of the host, which still has shop.service", || {
        std::thread::sleep(Duration::from_secs(31));
        Ok(())
    })?;
    let state = twin::property(lab, "shop.service", "LoadState")?;
    println!("    shop.service in the twin: {state}");
    show(lab, &["get", "restores", "-n", TWINS])?;
    show(lab, &["get", "twins", "-n", TWINS])
}

fn point_before_shop(lab: &Lab) -> Result<String> {
    let points = twin::objects(lab, "twinsnapshots")?;
    let text = |point: &serde_json::Value, path: &str| {
        point
            .pointer(path)
            .and_then(|v| v.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let mut found: Vec<(String, String)> = points
        .iter()
        .filter(|point| text(point, "/status/takenBefore").contains("shop.service"))
        .map(|point| (text(point, "/status/takenTime"), text(point, "/metadata/name")))
        .collect();
    found.sort();
    found
        .into_iter()
        .next()
        .map(|(_, name)| name)
        .context("no point was taken before shop.service")
}
