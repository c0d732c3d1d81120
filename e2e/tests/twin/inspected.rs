//! What the agent publishes of containers, against what their engine's own `inspect` says.

use anyhow::{Context, Result, ensure};
use safetytwin_crds::hoststate::Section;
use safetytwin_crds::section::SectionName;
use safetytwin_e2e::product::twin;
use safetytwin_e2e::wait::{self, Look};
use serde_json::Value;

use crate::Sentence;
use crate::dump::{Dump, LIMIT};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "the_agent_says_of_a_container_what_docker_inspect_says",
        the_agent_says_what_docker_inspect_says,
    ),
    (
        "a_pod_of_podmans_is_known_by_its_members",
        a_pod_is_known_by_its_members,
    ),
    (
        "a_users_podman_is_seen_while_it_runs_and_never_started",
        a_users_podman_is_never_started,
    ),
];

const RUN: &str = "set -e
systemctl start docker && docker load -q -i /usr/share/lab/busybox.tar
docker rm -f agree 2> /dev/null || true
docker network inspect agree > /dev/null 2>&1 || docker network create --subnet=172.31.77.0/24 agree
docker run -d --name=agree --hostname=shop --user=65534 --workdir=/bin --memory=64m --memory-reservation=32m \
  --cpus=0.5 --cpu-shares=512 --pids-limit=50 --oom-score-adj=100 --shm-size=8m --ulimit=nofile=1024:2048 \
  --sysctl=net.core.somaxconn=256 --read-only --security-opt=no-new-privileges --tmpfs=/run:rw,noexec,size=1m \
  --group-add=65533 --dns=10.77.0.53 --dns-search=example.org --dns-option=ndots:2 --add-host=db:10.0.0.7 \
  --stop-signal=SIGINT --stop-timeout=7 --restart=on-failure:3 --cap-drop=ALL --cap-add=NET_BIND_SERVICE \
  --log-opt=max-size=1m --label=com.docker.compose.project=shop --label=com.docker.compose.service=web \
  --volume=agree-data:/data:ro --publish=8099:80 --network=agree --ip=172.31.77.5 --network-alias=front \
  --health-cmd=true --health-interval=1h --tty --interactive localhost/busybox:1 sleep 100000";

const REMOVE: &str = "docker rm -f agree; docker network rm agree; docker volume rm agree-data";

/// Fields that are the same on both sides: of the item, of `docker inspect`.
const SAME: &[(&str, &str)] = &[
    ("/image", "/Config/Image"),
    ("/imageId", "/Image"),
    ("/command", "/Config/Cmd"),
    ("/user", "/Config/User"),
    ("/workingDirectory", "/Config/WorkingDir"),
    ("/labels", "/Config/Labels"),
    ("/healthCheck/test", "/Config/Healthcheck/Test"),
    ("/networkMode", "/HostConfig/NetworkMode"),
    ("/restartPolicy", "/HostConfig/RestartPolicy/Name"),
    ("/memoryBytes", "/HostConfig/Memory"),
    ("/capAdd", "/HostConfig/CapAdd"),
    ("/capDrop", "/HostConfig/CapDrop"),
    ("/privileged", "/HostConfig/Privileged"),
    ("/mounts/0/source", "/Mounts/0/Name"),
    ("/mounts/0/target", "/Mounts/0/Destination"),
    ("/options/hostname", "/Config/Hostname"),
    ("/options/tty", "/Config/Tty"),
    ("/options/openStdin", "/Config/OpenStdin"),
    ("/options/stopSignal", "/Config/StopSignal"),
    ("/options/stopTimeoutSeconds", "/Config/StopTimeout"),
    (
        "/options/restartMaxRetries",
        "/HostConfig/RestartPolicy/MaximumRetryCount",
    ),
    ("/options/memoryReservationBytes", "/HostConfig/MemoryReservation"),
    ("/options/cpuShares", "/HostConfig/CpuShares"),
    ("/options/pidsLimit", "/HostConfig/PidsLimit"),
    ("/options/oomScoreAdj", "/HostConfig/OomScoreAdj"),
    ("/options/shmSizeBytes", "/HostConfig/ShmSize"),
    ("/options/ulimits/0/name", "/HostConfig/Ulimits/0/Name"),
    ("/options/ulimits/0/soft", "/HostConfig/Ulimits/0/Soft"),
    ("/options/ulimits/0/hard", "/HostConfig/Ulimits/0/Hard"),
    ("/options/sysctls", "/HostConfig/Sysctls"),
    ("/options/readOnlyRootfs", "/HostConfig/ReadonlyRootfs"),
    ("/options/securityOpt", "/HostConfig/SecurityOpt"),
    ("/options/tmpfs", "/HostConfig/Tmpfs"),
    ("/options/groupAdd", "/HostConfig/GroupAdd"),
    ("/options/dns", "/HostConfig/Dns"),
    ("/options/dnsSearch", "/HostConfig/DnsSearch"),
    ("/options/dnsOptions", "/HostConfig/DnsOptions"),
    ("/options/extraHosts", "/HostConfig/ExtraHosts"),
    ("/options/logOptions", "/HostConfig/LogConfig/Config"),
    (
        "/options/addresses/agree/ipv4",
        "/NetworkSettings/Networks/agree/IPAMConfig/IPv4Address",
    ),
];

fn the_agent_says_what_docker_inspect_says(world: &World) -> Result<()> {
    let host = world.lab.host();
    host.run(RUN)?;
    let inspected: Value = serde_json::from_str(&host.run("docker inspect agree --format '{{json .}}'")?)?;
    let item = look_for(world, "docker", "agree").map(|(item, _)| item);
    host.run(REMOVE)?;
    let item = item?;
    let differing: Vec<String> = SAME
        .iter()
        .map(|(ours, theirs)| (ours, item.pointer(ours), theirs, inspected.pointer(theirs)))
        .filter(|(_, ours, _, theirs)| ours.is_none() || ours != theirs)
        .map(|(ours, a, theirs, b)| format!("{ours} {a:?}, docker's {theirs} {b:?}"))
        .collect();
    ensure!(differing.is_empty(), "{}", differing.join("; "));
    let nano_cpus = inspected.pointer("/HostConfig/NanoCpus").and_then(Value::as_i64);
    let milli = item.pointer("/cpuMilli").and_then(Value::as_i64);
    ensure!(
        milli.map(|milli| milli * 1_000_000) == nano_cpus,
        "{milli:?}, docker's {nano_cpus:?}"
    );
    ensure!(
        item.pointer("/mounts/0/readOnly") == Some(&Value::Bool(true)),
        "{item}"
    );
    let port = serde_json::json!({"containerPort": 80, "protocol": "tcp", "hostIp": "", "hostPort": 8099});
    let ports = item.pointer("/ports").and_then(Value::as_array);
    ensure!(ports.is_some_and(|ports| ports.contains(&port)), "{item}");
    let aliases = item.pointer("/networks/agree").and_then(Value::as_array);
    ensure!(
        aliases.is_some_and(|aliases| aliases.contains(&"front".into())),
        "{item}"
    );
    twin::wait_settled(&world.lab).map(|_| ())
}

/// podman.service ends after five idle seconds; the lab's stays.
const STAY: &str = "[Service]\nExecStart=\nExecStart=/usr/bin/podman system service --time=0\n";

const POD: &str = "set -e
systemctl daemon-reload && systemctl start podman.service
podman load -q -i /usr/share/lab/busybox.tar
podman pod rm -f shop 2> /dev/null || true
podman pod create --name=shop
podman run -d --pod=shop --name=agree-member localhost/busybox:1 sleep 100000";

fn a_pod_is_known_by_its_members(world: &World) -> Result<()> {
    let host = world.lab.host();
    host.write("/etc/systemd/system/podman.service.d/stay.conf", STAY)?;
    host.run(POD)?;
    let looked = look_for(world, "podman", "agree-member");
    let shared = host.run("podman pod inspect shop --format '{{json .SharedNamespaces}}'");
    host.run(
        "podman pod rm -f shop; systemctl stop podman.service; rm -r /etc/systemd/system/podman.service.d; \
         systemctl daemon-reload",
    )?;
    let (item, looked) = looked?;
    let mut shared: Vec<String> = serde_json::from_str(&shared?)?;
    shared.sort();
    let pod = item
        .pointer("/options/pod")
        .context("it says nothing of its pod")?;
    ensure!(
        *pod == serde_json::json!({"name": "shop", "shares": shared}),
        "{pod}, podman's {shared:?}"
    );
    let infra = looked
        .iter()
        .filter(|item| text(item, "/name").ends_with("-infra"));
    ensure!(infra.count() == 0, "its infra container is an item: {looked:?}");
    twin::wait_settled(&world.lab).map(|_| ())
}

const USER: &str = "set -e
id -u alice > /dev/null 2>&1 || useradd --create-home --uid 1177 alice
loginctl enable-linger alice
until test -S /run/user/1177/systemd/private; do sleep 0.2; done
install -d -o alice /home/alice/.config /home/alice/.config/systemd /home/alice/.config/systemd/user \
  /home/alice/.config/systemd/user/podman.service.d
install -o alice -m 0644 /dev/stdin /home/alice/.config/systemd/user/podman.service.d/stay.conf <<'END'
[Service]
ExecStart=
ExecStart=/usr/bin/podman --cgroup-manager=cgroupfs system service --time=0
END
cd /home/alice
as() { runuser -u alice -- env HOME=/home/alice XDG_RUNTIME_DIR=/run/user/1177 \"$@\"; }
as systemctl --user daemon-reload
as systemctl --user start podman.socket
as podman --cgroup-manager=cgroupfs load -q -i /usr/share/lab/busybox.tar
as podman --cgroup-manager=cgroupfs run -d --replace --network=none --name=private localhost/busybox:1 sleep 100000";

const SERVICE: &str = "runuser -u alice -- env XDG_RUNTIME_DIR=/run/user/1177 systemctl --user";

fn a_users_podman_is_never_started(world: &World) -> Result<()> {
    let host = world.lab.host();
    host.run(USER)?;
    let service = |verb: &str| host.try_run(&format!("{SERVICE} {verb} podman.service"));
    let seen = |looked: &[Value]| looked.iter().any(|item| text(item, "/name") == "private");
    service("stop")?;
    let stopped = seen(&containers(world)?);
    let started_by_looking = service("is-active")?.success();
    service("start")?;
    let running = look_for(world, "podman", "private");
    host.run(
        "loginctl disable-linger alice; loginctl terminate-user alice; \
         for n in $(seq 100); do pgrep -u alice > /dev/null || break; sleep 0.2; done; \
         pkill -KILL -u alice; userdel --force --remove alice 2> /dev/null || true",
    )?;
    ensure!(!stopped, "a container of an engine that does not run");
    ensure!(!started_by_looking, "a look started the user's podman.service");
    let (item, _) = running?;
    let user = item.pointer("/rootlessUser").context("nobody's")?;
    ensure!(
        user.pointer("/name") == Some(&"alice".into()) && user.pointer("/id") == Some(&1177.into()),
        "{user}"
    );
    twin::wait_settled(&world.lab).map(|_| ())
}

fn text<'a>(item: &'a Value, pointer: &str) -> &'a str {
    item.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Looks until this container is published; it, and all of that look. An engine of an emulated host may answer too late
/// for one look, and the section says so.
fn look_for(world: &World, engine: &str, name: &str) -> Result<(Value, Vec<Value>)> {
    let is_it = |item: &&Value| text(item, "/engine") == engine && text(item, "/name") == name;
    wait::until(&format!("{engine}'s {name}"), LIMIT, || {
        let dump = Dump::look(world, "")?;
        let items: Vec<Value> = dump.items(SectionName::Containers)?;
        let said = |section: &&Section| section.name == SectionName::Containers;
        Ok(match items.iter().find(is_it).cloned() {
            Some(item) => Look::Ready((item, items)),
            None => Look::NotYet(format!("{:?}", dump.head.spec.sections.iter().find(said))),
        })
    })
}

/// Containers that are published.
fn containers(world: &World) -> Result<Vec<Value>> {
    Dump::look(world, "")?.items(SectionName::Containers)
}
