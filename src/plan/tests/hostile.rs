//! What a hostile host may say: nothing panics, nothing escapes, same input same plan.

use proptest::prelude::*;
use safetytwin_crds::item::Text;
use safetytwin_crds::item::container::{ContainerOptions, HealthCheck, Mount, PortMapping};
use safetytwin_crds::item::unit::Origin;

use super::*;
use crate::render::unit_file;

fn text() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "",
        "\n",
        "\r",
        "\0",
        "\\",
        "%n",
        "$x",
        "\"",
        "[Service]",
        "ExecStart=/bin/evil",
        "../../x",
        "/",
        "/etc/shadow",
        "-v",
        "--privileged",
        "Alias=ssh.service",
        "WantedBy=../x",
        "\u{202e}",
        "a",
        "web",
        "masked",
        "<redacted>",
    ]);
    prop::collection::vec(prop_oneof![nasty.prop_map(str::to_owned), "\\PC{0,6}"], 0..5)
        .prop_map(|p| p.concat())
}

fn bytes() -> impl Strategy<Value = Text> {
    prop_oneof![
        text().prop_map(|t| Text(t.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Text)
    ]
}

fn unit() -> impl Strategy<Value = safetytwin_crds::item::UnitItem> {
    let name = prop::sample::select(vec![
        "a.service",
        "a@.service",
        "a@x.service",
        "a@y.service",
        "b.socket",
        "c.timer",
        "d.target",
        "ssh.service",
        "user@1000.service",
        "e.mount",
        "twin-process-a-0000000000000001.service",
    ]);
    let run = prop::sample::select(vec![
        RunClass::Up,
        RunClass::Down,
        RunClass::Failed,
        RunClass::OnDemand,
    ]);
    let origin = prop::sample::select(vec![
        Origin::Local,
        Origin::Vendor,
        Origin::Generated,
        Origin::NoFile,
    ]);
    (name, run, origin, text(), text(), text(), text()).prop_map(
        |(name, run, origin, path, body, state, user)| {
            let mut unit = service(name);
            unit.run = run;
            unit.origin = origin;
            unit.enablement = state.clone();
            unit.fragment = Some(file(&path, &body));
            unit.drop_ins = vec![file(&body, &format!("[Service]\n{path}\nUser={user}\n"))];
            unit.dependencies = [("After".to_owned(), vec![path, state])].into();
            let service = unit.service.as_mut().unwrap();
            service.user = Some(Account {
                name: user,
                id: None,
                primary_group: None,
            });
            service.executables = vec![body.clone()];
            service.working_directory = Some(body);
            unit
        },
    )
}

prop_compose! {
    fn any_container()(
        name in "[a-z]{1,2}", words in prop::collection::vec(bytes(), 0..4), strings in prop::collection::vec(text(), 9),
        number in any::<i64>(), port in any::<u16>(), flag in any::<bool>(),
    ) -> safetytwin_crds::item::ContainerItem {
        let [image, user, directory, mode, network, alias, label, target, source] = <[String; 9]>::try_from(strings).unwrap();
        let mut item = container(&name);
        item.command = Some(words.clone());
        item.entrypoint = flag.then_some(words);
        if flag { item.image = image; }
        (item.user, item.working_directory, item.network_mode) = (user.clone(), directory, mode);
        item.networks = [(network, vec![alias.clone()])].into();
        item.labels = [(label, target.clone())].into();
        (item.memory_bytes, item.cpu_milli, item.privileged) = (number, number.wrapping_neg(), flag);
        item.options = ContainerOptions {
            hostname: alias.clone(), stop_signal: target.clone(), dns: vec![source.clone()], extra_hosts: vec![alias.clone()],
            sysctls: [(source.clone(), target.clone())].into(), tmpfs: [(target.clone(), source.clone())].into(),
            pids_limit: number, memory_swap_bytes: number, stop_timeout_seconds: Some(number), restart_max_retries: number,
            ..ContainerOptions::default()
        };
        item.cap_add = vec![alias];
        item.ports = vec![PortMapping { container_port: port, protocol: user, host_ip: source.clone(), host_port: port, last_host_port: port.wrapping_mul(3) }];
        item.mounts = ["volume", "tmpfs", "bind"].iter().map(|kind| Mount {
            target: target.clone(), kind: (*kind).into(), source: source.clone(), read_only: flag, ..Mount::default()
        }).collect();
        item
    }
}

prop_compose! {
    fn any_process()(
        key in prop_oneof![Just("0123456789abcdef".to_owned()), text()], comm in bytes(), executable in prop::option::of(bytes()),
        argv in prop::collection::vec(bytes(), 0..4), directory in prop::option::of(bytes()), user in text(), id in prop::option::of(any::<u32>()),
    ) -> safetytwin_crds::item::ProcessItem {
        let mut item = process(1, &[]);
        (item.key, item.comm, item.executable, item.argv, item.working_directory) = (key, comm, executable, argv, directory);
        item.user = Account { name: user, id, primary_group: None };
        item
    }
}

prop_compose! {
    fn any_host()(
        units in prop::collection::vec(unit(), 0..6), containers in prop::collection::vec(any_container(), 0..4),
        processes in prop::collection::vec(any_process(), 0..4),
    ) -> HostItems {
        HostItems { units: Some(section(units)), containers: Some(section(containers)), processes: Some(section(processes)) }
    }
}

/// A path that we make: below the unit directory, at most one folder deep, nothing to climb.
fn is_ours(path: &str) -> bool {
    let Some(below) = path.strip_prefix("/etc/systemd/system/") else {
        return false;
    };
    let parts: Vec<&str> = below.split('/').collect();
    let plain = |p: &&str| !p.is_empty() && !p.contains("..") && !p.contains(char::is_control);
    parts.iter().all(plain) && (parts.len() == 1 || (parts.len() == 2 && parts[1] == "50-safetytwin.conf"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_a_host_says_is_planned_or_refused_by_name_and_always_the_same_way(before in any_host(), after in any_host()) {
        let content = desired(&after, &spec());
        prop_assert_eq!(&content, &desired(&after, &spec()));
        prop_assert!(content.items.windows(2).all(|w| w[0].id < w[1].id));
        for item in &content.items {
            for written in &item.files {
                prop_assert!(is_ours(&written.path), "{}", written.path);
                let read = unit_file::read("x", &written.content).unwrap();
                prop_assert_eq!(&read.write(), &written.content, "what is written is what was meant");
                prop_assert!(!written.content.lines().any(|l| l.starts_with("Alias=ssh")));
            }
        }
        for excluded in &content.excluded {
            prop_assert!(!excluded.message.is_empty() && excluded.message.len() <= 256 && excluded.item.len() <= 300);
            prop_assert!(!excluded.message.contains(char::is_control) && !excluded.item.contains(char::is_control));
        }
        let mut twin = Twin::default();
        twin.apply(&before);
        let (diff, _) = twin.apply(&after);
        prop_assert!(summary::short(&diff.changes).len() <= 128 && summary::long(&diff.changes).len() <= 512);
        twin.apply(&after);
        twin.apply(&after);
        prop_assert!(twin.apply(&after).1.steps.is_empty(), "a host that stays the same causes nothing");
        status::items(&content, &twin.manifest);
    }

    #[test]
    fn a_host_in_another_order_gives_the_same_content(units in prop::collection::btree_set("[a-e]{1,3}", 1..6)) {
        let items: Vec<_> = units.iter().map(|n| service(&format!("{n}.service"))).collect();
        let mut backwards = items.clone();
        backwards.reverse();
        prop_assert_eq!(desired(&host(items), &spec()), desired(&host(backwards), &spec()));
    }
}

#[test]
fn a_health_check_runs_in_the_container_and_nowhere_else() {
    let rendered = |test: &[&str]| {
        let mut item = container("web");
        item.health_check = Some(HealthCheck {
            test: test.iter().map(|word| Text::from(*word)).collect(),
            retries: 3,
            ..HealthCheck::default()
        });
        crate::render::container::render(&item, item.engine).unwrap()
    };
    let text = |test: &[&str]| rendered(test).files[0].content.clone();
    assert!(text(&["NONE"]).contains("--no-healthcheck"));
    let line = text(&["CMD-SHELL", "curl -f http://localhost/ || exit 1"]);
    assert!(
        line.contains("\"--health-cmd=curl -f http://localhost/ || exit 1\" --health-retries=3"),
        "{line}"
    );
    let words = text(&["CMD", "a b", "it's"]);
    assert!(words.contains(r#"--health-cmd='a b' 'it'\\''s'"#), "{words}");
    for broken in [
        &["CMD-SHELL", "a\nExecStartPre=/bin/evil"][..],
        &["CMD"],
        &["EVIL", "x"],
        &[],
    ] {
        let rendered = rendered(broken);
        assert!(!rendered.files[0].content.contains("health"), "{broken:?}");
        assert_eq!(rendered.substituted, Some(Reason::InvalidItem), "{broken:?}");
    }
}

#[test]
fn what_a_container_may_not_have_is_left_out_and_listed() {
    let mut item = container("web");
    item.privileged = true;
    item.devices = vec!["gpus all".into()];
    item.log_driver = "gelf".into();
    item.network_mode = "host".into();
    item.cap_add = vec!["SYS_ADMIN".into(), "NET_BIND_SERVICE".into()];
    item.ports = [(22, "tcp"), (80, "tcp"), (81, "evil")]
        .map(|(port, protocol)| PortMapping {
            container_port: port,
            protocol: protocol.into(),
            host_ip: String::new(),
            host_port: port,
            ..PortMapping::default()
        })
        .to_vec();
    item.mounts = ["/:/host", "/var/run/docker.sock:/var/run/docker.sock"]
        .map(|bind| {
            let (source, target) = bind.split_once(':').unwrap();
            Mount {
                target: target.into(),
                kind: "bind".into(),
                source: source.into(),
                ..Mount::default()
            }
        })
        .to_vec();
    let rendered = crate::render::container::render(&item, item.engine).unwrap();
    let text = &rendered.files[0].content;
    for absent in [
        "docker.sock",
        "privileged",
        "--network",
        "SYS_ADMIN",
        "22",
        "evil",
        "gpus",
        "gelf",
    ] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    assert!(text.contains("--publish=80:80/tcp") && text.contains("--cap-add=NET_BIND_SERVICE"));
    assert_eq!(
        (rendered.substituted, rendered.details.len()),
        (Some(Reason::NotPermitted), 9)
    );
}

#[test]
fn pods_protected_units_and_unknown_executables_are_named_with_their_reason() {
    let mut pod = container("web");
    pod.labels = [("io.kubernetes.pod.name".to_owned(), "x".to_owned())].into();
    let mut hidden = process(1, &["relative"]);
    hidden.executable = None;
    let mut gone = process(2, &["/x"]);
    gone.executable_gone = true;
    let long = process(3, &["worker", &"a".repeat(70_000)]);
    // What is left of 100,000 arguments is short enough, but not what ran.
    let mut cut = process(4, &["worker", "--first"]);
    cut.truncated = true;
    let mut firewall = service("my-rules.service");
    firewall.service.as_mut().unwrap().executables = vec!["/usr/sbin/nft".into()];
    let items = HostItems {
        units: Some(section(vec![
            firewall,
            service("ssh.service"),
            service("user@1000.service"),
        ])),
        containers: Some(section(vec![pod])),
        processes: Some(section(vec![hidden, gone, long, cut])),
    };
    let content = desired(&items, &spec());
    let reasons: Vec<Reason> = content.excluded.iter().map(|e| e.reason).collect();
    assert_eq!(content.items, []);
    assert_eq!(
        reasons,
        [
            Reason::ManagedByKubernetes,
            Reason::ExecutableUnknown,
            Reason::ExecutableDeleted,
            Reason::ArgvTooLong,
            Reason::ArgvTooLong,
            Reason::Protected,
            Reason::Protected,
            Reason::UserManager,
        ]
    );
}

/// Names of variables that a loader or a shell acts on, and what is no name.
const ODD_NAMES: [&str; 7] = [
    "A B",
    "",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "BASH_FUNC_x%%",
    "X\n[Service]\nUser=root",
    "\u{1b}[2J",
];

#[test]
fn names_of_variables_reach_status_and_no_file_of_the_twin() {
    let mut web = container("web");
    web.environment_names = ODD_NAMES.map(str::to_owned).to_vec();
    let mut unit = service("a.service");
    let own = unit.service.as_mut().unwrap();
    own.environment_names = web.environment_names.clone();
    own.pass_environment = web.environment_names.clone();
    let items = HostItems {
        units: Some(section(vec![unit])),
        containers: Some(section(vec![web])),
        processes: None,
    };
    let content = desired(&items, &spec());
    assert_eq!(content.items.len(), 2);
    for item in &content.items {
        for file in &item.files {
            for odd in ["LD_", "BASH_FUNC", "User=root", "--env", "\u{1b}"] {
                assert!(!file.content.contains(odd), "{odd}: {}", file.content);
            }
        }
    }
    let mut items = content.items.iter();
    let web = items.find(|item| item.id.kind == ItemKind::Container).unwrap();
    assert!(
        web.detail.contains("LD_PRELOAD") && !web.detail.contains(char::is_control),
        "{web:?}"
    );
}

/// A host whose unit sets them has them set there: its text is its own, and its code runs as root in the twin anyway.
/// Nothing else makes a variable of what a host says.
#[test]
fn variables_that_a_units_own_text_sets_are_set_for_that_unit_alone() {
    let mut preloading = service("a.service");
    let set = "Environment=LD_PRELOAD=/usr/lib/a.so \"BASH_FUNC_x%%%%=() { :; }\"";
    let text = format!("[Service]\nExecStart=/usr/bin/a\n{set}\n");
    preloading.fragment = Some(file("/etc/systemd/system/a.service", &text));
    let content = desired(&host(vec![preloading, service("b.service")]), &spec());
    let with: Vec<&str> = content
        .items
        .iter()
        .flat_map(|item| &item.files)
        .map(|file| &*file.content)
        .collect();
    let [first, second] = with[..] else {
        panic!("{with:?}");
    };
    assert!(first.contains(set) && !second.contains("Environment"), "{with:?}");
}
