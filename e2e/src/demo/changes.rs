//! The four changes of the demo.

use anyhow::Result;

use super::timeline::{Timeline, follow, last_change};
use crate::lab::Lab;
use crate::product::twin;

const PAGE: &str = "/srv/www/index.html";
const UNIT: &str = "[Unit]
Description=A small web server, version VERSION

[Service]
ExecStart=/usr/bin/busybox httpd -f -p 8080 -h /srv

[Install]
WantedBy=multi-user.target
";

/// Makes the changes one after the other and tells each.
pub(super) fn run(lab: &Lab) -> Result<Vec<Timeline>> {
    prepare(lab)?;
    let timelines = vec![
        told(
            lab,
            follow(lab, "new service shop.service", &write_unit("1"), || {
                described(lab, "version 1")
            })?,
        )?,
        told(
            lab,
            follow(lab, "edited service shop.service", &write_unit("2"), || {
                described(lab, "version 2")
            })?,
        )?,
        told(
            lab,
            follow(lab, "new container cache", CONTAINER, || container_runs(lab))?,
        )?,
        told(
            lab,
            follow(
                lab,
                "stopped service shop.service",
                "systemctl stop shop.service",
                || stopped(lab),
            )?,
        )?,
    ];
    Ok(timelines)
}

const CONTAINER: &str =
    "docker run -d --name cache --label tier=front -m 64m localhost/busybox:1 httpd -f -p 8081";

/// The image of the container is on the host and in the twin before: images do not travel.
fn prepare(lab: &Lab) -> Result<()> {
    lab.host().write(PAGE, "hello\n")?;
    lab.host()
        .run("systemctl start docker && docker load -q -i /usr/share/lab/busybox.tar")?;
    twin::guest(lab, twin::NAME)?.run(&[
        "/usr/bin/docker",
        "load",
        "-q",
        "-i",
        "/usr/share/lab/busybox.tar",
    ])?;
    Ok(())
}

fn write_unit(version: &str) -> String {
    let text = UNIT.replace("VERSION", version);
    format!(
        "printf %s {} > /etc/systemd/system/shop.service && systemctl daemon-reload && systemctl enable --quiet shop && systemctl restart shop",
        crate::lab::host::quote(&text)
    )
}

fn described(lab: &Lab, text: &str) -> Result<bool> {
    let guest = twin::guest(lab, twin::NAME)?;
    let shown = guest.run(&[
        "/usr/bin/systemctl",
        "show",
        "-p",
        "Description",
        "-p",
        "ActiveState",
        "shop.service",
    ])?;
    Ok(shown.contains(text) && shown.contains("ActiveState=active"))
}

fn stopped(lab: &Lab) -> Result<bool> {
    Ok(twin::property(lab, "shop.service", "ActiveState")? == "inactive")
}

fn container_runs(lab: &Lab) -> Result<bool> {
    let words = [
        "/usr/bin/docker",
        "ps",
        "--filter",
        "name=cache",
        "--format",
        "{{.Names}}",
    ];
    Ok(twin::guest(lab, twin::NAME)?.run(&words)?.trim() == "cache")
}

fn told(lab: &Lab, timeline: Timeline) -> Result<Timeline> {
    println!("\n  {}", timeline.change);
    timeline.tell();
    twin::wait_settled(lab)?;
    let change = last_change(lab)?;
    let text = |key: &str| {
        change
            .get(key)
            .and_then(|v| v.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    println!(
        "    the twin says: {} ({}), before it the point {}",
        text("summary"),
        text("result"),
        text("snapshot")
    );
    Ok(timeline)
}
