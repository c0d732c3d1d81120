//! Containers and independent processes.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_e2e::product::twin;
use safetytwin_e2e::wait;

use crate::Sentence;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "a_container_started_on_the_host_runs_in_the_twin",
        a_container_runs_in_the_twin,
    ),
    (
        "a_container_whose_image_the_twin_lacks_is_named",
        a_container_without_image_is_named,
    ),
    (
        "an_independent_process_runs_in_the_twin",
        an_independent_process_runs_in_the_twin,
    ),
];

fn a_container_runs_in_the_twin(world: &World) -> Result<()> {
    let host = world.lab.host();
    host.run("systemctl start docker && docker load -q -i /usr/share/lab/busybox.tar")?;
    twin::guest(&world.lab, twin::NAME)?.run(&[
        "/usr/bin/docker",
        "load",
        "-q",
        "-i",
        "/usr/share/lab/busybox.tar",
    ])?;
    host.run("docker rm -f web 2> /dev/null; docker run -d --name web --label tier=front -m 64m localhost/busybox:1 httpd -f -p 8080")?;
    wait::until_true("the container in the twin", Duration::from_secs(180), || {
        let words = ["/usr/bin/docker", "ps", "--format", "{{.Names}} {{.Image}}"];
        Ok(twin::guest(&world.lab, twin::NAME)?
            .run(&words)?
            .contains("web localhost/busybox:1"))
    })?;
    let words = [
        "/usr/bin/docker",
        "inspect",
        "web",
        "--format",
        "{{.HostConfig.Memory}} {{index .Config.Labels \"tier\"}}",
    ];
    let essentials = twin::guest(&world.lab, twin::NAME)?.run(&words)?;
    ensure!(essentials.trim() == "67108864 front", "{essentials}");
    Ok(())
}

fn a_container_without_image_is_named(world: &World) -> Result<()> {
    world.lab.host().run("docker tag localhost/busybox:1 localhost/only-here:1 && { docker rm -f lonely 2> /dev/null; docker run -d --name lonely localhost/only-here:1 sleep 100000; }")?;
    wait::until("the container's reason", Duration::from_secs(120), || {
        let twin = twin::object(&world.lab, "digitaltwin", twin::NAME)?;
        twin::expect_not_replicated(&twin, "container/docker:lonely", "MissingImage").map(wait::Look::Ready)
    })?;
    world.lab.host().run("docker rm -f lonely")?;
    Ok(())
}

fn an_independent_process_runs_in_the_twin(world: &World) -> Result<()> {
    // Started by hand and left behind: reparented to process 1, without a terminal.
    world
        .lab
        .host()
        .run("cd /srv && setsid --fork sleep 987654 < /dev/null > /dev/null 2>&1")?;
    wait::until_true("the process in the twin", Duration::from_secs(180), || {
        Ok(twin::guest(&world.lab, twin::NAME)?
            .try_run(&["/usr/bin/pgrep", "-f", "sleep 987654"])?
            .success())
    })
}
