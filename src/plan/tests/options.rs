//! What else a container is started with: taken over, or left out and named.

use safetytwin_crds::item::container::{ContainerOptions, Engine, Pod, PortMapping, StaticAddress, Ulimit};
use safetytwin_crds::item::unit::Account;
use safetytwin_crds::item::{ContainerItem, Reason};

use crate::plan::samples::container;
use crate::render::Rendered;
use crate::render::container::{render, unit_name};

fn with(options: ContainerOptions) -> ContainerItem {
    ContainerItem {
        options,
        ..container("web")
    }
}

fn words(rendered: &Rendered) -> Vec<String> {
    let text = &rendered.files[0].content;
    let create = text
        .lines()
        .find(|line| line.contains(" create --name="))
        .unwrap();
    create
        .split(' ')
        .map(|word| word.trim_matches('"').to_owned())
        .collect()
}

/// One of everything that a twin takes over.
fn taken_over() -> ContainerOptions {
    let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    ContainerOptions {
        image_digest: "sha256:ab".into(),
        memory_swap_bytes: -1,
        memory_reservation_bytes: 1024,
        cpu_shares: 512,
        pids_limit: 200,
        oom_score_adj: 100,
        shm_size_bytes: 4096,
        ulimits: vec![Ulimit {
            name: "nofile".into(),
            soft: 1024,
            hard: -1,
        }],
        sysctls: [("net.core.somaxconn".to_owned(), "1024".to_owned())].into(),
        hostname: "shop".into(),
        tty: true,
        open_stdin: true,
        init: true,
        read_only_rootfs: true,
        security_opt: list(&["no-new-privileges"]),
        tmpfs: [("/run".to_owned(), "rw,noexec,size=64m,tmpcopyup".to_owned())].into(),
        group_add: list(&["65534"]),
        dns: list(&["10.0.0.53"]),
        dns_search: list(&["example.org"]),
        dns_options: list(&["ndots:2"]),
        extra_hosts: list(&["db:10.0.0.7"]),
        stop_signal: "SIGQUIT".into(),
        stop_timeout_seconds: Some(25),
        ipc_mode: "none".into(),
        log_options: [("max-size".to_owned(), "10m".to_owned())].into(),
        ..ContainerOptions::default()
    }
}

#[test]
fn what_a_twin_can_have_is_taken_over_word_by_word() {
    let rendered = render(&with(taken_over()), Engine::Docker).unwrap();
    assert_eq!(rendered.substituted, None, "{:?}", rendered.details);
    let words = words(&rendered);
    for expected in [
        "--memory-swap=-1",
        "--memory-reservation=1024",
        "--cpu-shares=512",
        "--pids-limit=200",
        "--oom-score-adj=100",
        "--shm-size=4096",
        "--ulimit=nofile=1024:-1",
        "--sysctl=net.core.somaxconn=1024",
        "--hostname=shop",
        "--tty",
        "--interactive",
        "--init",
        "--read-only",
        "--security-opt=no-new-privileges",
        "--tmpfs=/run:rw,noexec,size=64m",
        "--group-add=65534",
        "--dns=10.0.0.53",
        "--dns-search=example.org",
        "--dns-option=ndots:2",
        "--add-host=db:10.0.0.7",
        "--stop-signal=SIGQUIT",
        "--stop-timeout=25",
        "--ipc=none",
        "--log-driver=json-file",
        "--log-opt=max-size=10m",
    ] {
        assert!(words.iter().any(|word| word == expected), "{expected}: {words:?}");
    }
    assert!(
        rendered.files[0]
            .content
            .contains("ExecStop=-/usr/bin/docker stop --time=25 web\n")
    );
}

#[test]
fn what_a_twin_cannot_have_is_left_out_and_named() {
    let address = StaticAddress {
        ipv4: "172.30.0.5".into(),
        ipv6: String::new(),
    };
    let options = ContainerOptions {
        oom_score_adj: -1000,
        cpuset_cpus: "0-1".into(),
        sysctls: [("kernel.core_pattern".to_owned(), "x".to_owned())].into(),
        security_opt: ["apparmor=unconfined", "seccomp=unconfined"]
            .map(str::to_owned)
            .to_vec(),
        addresses: [("shop".to_owned(), address)].into(),
        pid_mode: "host".into(),
        ipc_mode: "container:db".into(),
        uts_mode: "host".into(),
        userns_mode: "host".into(),
        runtime: "nvidia".into(),
        pod: Some(Pod {
            name: "shop".into(),
            shares: vec!["net".into()],
        }),
        ..ContainerOptions::default()
    };
    let rendered = render(&with(options), Engine::Docker).unwrap();
    let plain = render(&container("web"), Engine::Docker).unwrap();
    assert_eq!(rendered.files, plain.files);
    assert_eq!(
        (rendered.substituted, rendered.details.len()),
        (Some(Reason::NotPermitted), 12)
    );
    for what in [
        "oom-score-adj",
        "CPUs",
        "core_pattern",
        "172.30.0.5",
        "pod shop",
        "nvidia",
    ] {
        assert!(rendered.details.iter().any(|d| d.contains(what)), "{what}");
    }
}

#[test]
fn a_value_that_is_not_of_its_kind_is_never_a_word() {
    let evil = "x\nExecStartPre=/bin/evil --privileged";
    let list = vec![evil.to_owned(), "--privileged".to_owned(), String::new()];
    let map = || {
        [
            (evil.to_owned(), evil.to_owned()),
            ("net.x".to_owned(), evil.to_owned()),
        ]
        .into()
    };
    let options = ContainerOptions {
        image_digest: evil.into(),
        cpuset_cpus: evil.into(),
        ulimits: vec![Ulimit {
            name: evil.into(),
            soft: 1,
            hard: 1,
        }],
        sysctls: map(),
        hostname: evil.into(),
        domainname: "--privileged".into(),
        security_opt: list.clone(),
        tmpfs: [
            ("/../a".to_owned(), evil.to_owned()),
            ("/a".to_owned(), evil.to_owned()),
        ]
        .into(),
        group_add: list.clone(),
        dns: list.clone(),
        dns_search: list.clone(),
        dns_options: list.clone(),
        extra_hosts: list,
        stop_signal: evil.into(),
        stop_timeout_seconds: Some(i64::MIN),
        pid_mode: evil.into(),
        runtime: evil.into(),
        log_options: map(),
        ..ContainerOptions::default()
    };
    for engine in [Engine::Docker, Engine::Podman] {
        let rendered = render(&with(options.clone()), engine).unwrap();
        let text = &rendered.files[0].content;
        assert!(!text.contains("evil") && !text.contains("privileged"), "{text}");
        assert!(text.contains("--tmpfs=/a "), "its options alone were bad: {text}");
        assert!(rendered.details.iter().all(|d| !d.contains(char::is_control)));
    }
}

#[test]
fn retries_are_limited_as_on_the_host() {
    let mut item = with(ContainerOptions {
        restart_max_retries: 3,
        ..ContainerOptions::default()
    });
    item.restart_policy = "on-failure".into();
    let text = |item: &ContainerItem| render(item, item.engine).unwrap().files[0].content.clone();
    assert!(text(&item).contains("StartLimitIntervalSec=1h\nStartLimitBurst=4\n"));
    item.restart_policy = "always".into();
    assert!(!text(&item).contains("StartLimit"));
}

#[test]
fn containers_of_two_users_and_of_root_are_three_in_the_twin() {
    let of = |uid: Option<u32>| {
        let mut item = container("web");
        item.engine = Engine::Podman;
        item.rootless_user = uid.map(|id| Account {
            name: "alice".into(),
            id: Some(id),
            primary_group: None,
        });
        let text = render(&item, item.engine).unwrap().files[0].content.clone();
        let name = text
            .split(" create --name=")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        (unit_name(&item).unwrap().to_string(), name)
    };
    let name = |unit: &str, name: &str| (format!("twin-container-{unit}.service"), name.to_owned());
    assert_eq!(of(None), name("podman-web", "web"));
    assert_eq!(of(Some(1000)), name("podman:1000-web", "web.user1000"));
    assert_eq!(of(Some(1001)), name("podman:1001-web", "web.user1001"));
}

/// Words that publish ports, each mapping being its address and its first and last port of the host.
fn published(engine: Engine, ports: &[(&str, u16, u16)]) -> (Vec<String>, Rendered) {
    let mut item = container("web");
    let port = |(address, first, last): &(&str, u16, u16)| PortMapping {
        container_port: 80,
        protocol: "tcp".into(),
        host_ip: (*address).into(),
        host_port: *first,
        last_host_port: *last,
    };
    item.ports = ports.iter().map(port).collect();
    let rendered = render(&item, engine).unwrap();
    let words = words(&rendered).into_iter();
    (
        words.filter(|word| word.starts_with("--publish")).collect(),
        rendered,
    )
}

#[test]
fn a_port_that_the_hosts_engine_picks_is_picked_by_the_twins() {
    for engine in [Engine::Docker, Engine::Podman] {
        for (address, word) in [
            ("", "--publish=80/tcp"),
            ("10.0.0.7", "--publish=80/tcp"),
            ("127.0.0.1", "--publish=127.0.0.1::80/tcp"),
            ("::1", "--publish=[::1]::80/tcp"),
        ] {
            assert_eq!(published(engine, &[(address, 0, 0)]).0, [word]);
        }
        assert_eq!(
            published(engine, &[("127.0.0.1", 8080, 0)]).0,
            ["--publish=127.0.0.1:8080:80/tcp"]
        );
    }
}

#[test]
fn one_port_of_several_is_picked_by_docker_and_the_first_of_them_by_podman() {
    let (words, rendered) = published(Engine::Docker, &[("127.0.0.1", 8000, 8010)]);
    assert_eq!(words, ["--publish=127.0.0.1:8000-8010:80/tcp"]);
    assert_eq!(rendered.substituted, None, "{:?}", rendered.details);
    let (words, rendered) = published(Engine::Podman, &[("", 8000, 8010)]);
    assert_eq!(words, ["--publish=8000:80/tcp"]);
    assert!(
        rendered
            .details
            .contains(&"port 8000 instead of one up to 8010".to_owned())
    );
}

#[test]
fn no_port_out_of_several_is_the_twins_own_way_in() {
    // Nor is one that ends before it begins a range.
    for (first, last) in [(22, 0), (22, 30), (1, 22), (1, 65_535), (23, 5), (0, 5), (80, 80)] {
        let (words, rendered) = published(Engine::Docker, &[("", first, last)]);
        assert_eq!(words, Vec::<String>::new(), "{first} {last}");
        assert_eq!(rendered.substituted, Some(Reason::NotPermitted));
    }
}

#[test]
fn a_device_is_left_out_by_its_whole_mapping() {
    let mut item = container("web");
    let device = "/dev/disk/by-id/usb-0000:0000-0:0:/dev/disk/by-id/usb-0000:0000-0:0:r";
    item.devices = vec![format!("device {device}")];
    let rendered = render(&item, item.engine).unwrap();
    assert_eq!(
        rendered.details,
        [format!(
            "device {device} left out: a twin has no devices of its host"
        )]
    );
    assert!(!words(&rendered).iter().any(|word| word.contains("device")));
}
