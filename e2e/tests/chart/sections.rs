//! Opt-in sections of the agent: nothing of them is mounted or asked for unless chosen.

use serde_json::Value;

use crate::{CHART, REPOSITORY, find, helm, rendered};

/// Arguments of the agent about sections, and host paths that it mounts.
fn agent(settings: &[&str]) -> (Vec<String>, Vec<String>) {
    let objects = rendered(settings);
    let pod = find(&objects, "DaemonSet", "agent").unwrap()["spec"]["template"]["spec"].clone();
    let texts = |values: &Value| -> Vec<String> {
        let values = values.as_array().unwrap().iter();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let arguments = texts(&pod["containers"][0]["args"]).into_iter();
    let chosen = arguments.filter(|a| a.starts_with("--section") || a.starts_with("--file"));
    let volumes = pod["volumes"].as_array().unwrap().iter();
    let paths = volumes.filter_map(|volume| volume["hostPath"]["path"].as_str().map(str::to_owned));
    (chosen.collect(), paths.collect())
}

#[test]
fn no_section_is_published_and_nothing_mounted_for_one_unless_it_is_chosen() {
    let (arguments, paths) = agent(&[]);
    assert!(arguments.is_empty(), "{arguments:?}");
    assert!(
        !paths.iter().any(|path| path.starts_with("/var/spool")),
        "{paths:?}"
    );
}

#[test]
fn each_section_is_chosen_by_its_own_value() {
    for section in ["packages", "accounts", "hostname", "sysctl", "modules", "cron"] {
        let (arguments, paths) = agent(&[&format!("--set=agent.sections.{section}=true")]);
        assert_eq!(arguments, [format!("--section={section}")]);
        let spool = paths.contains(&"/var/spool".to_owned());
        assert_eq!(spool, section == "cron", "{section}: {paths:?}");
    }
}

#[test]
fn a_selected_file_brings_its_directory_once_and_only_if_nothing_else_mounts_it() {
    let (_, without) = agent(&[]);
    let files =
        "--set=agent.sections.files={/etc/app/*.conf,/srv/app/a.yaml,/srv/app/b/*,/opt/*/c,/var/spool/x/y}";
    let (arguments, paths) = agent(&[files]);
    assert_eq!(arguments.len(), 6, "{arguments:?}");
    assert!(
        arguments.contains(&"--file=/srv/app/b/*".to_owned()),
        "{arguments:?}"
    );
    let new: Vec<&String> = paths.iter().filter(|path| !without.contains(path)).collect();
    assert_eq!(new, ["/srv/app", "/opt", "/var/spool/x"]);
    let (_, paths) = agent(&[files, "--set=agent.sections.cron=true"]);
    assert!(!paths.contains(&"/var/spool/x".to_owned()), "{paths:?}");
}

#[test]
fn a_pattern_that_would_mount_the_root_or_the_kernel_s_trees_is_refused() {
    for bad in [
        "/*",
        "/*/x",
        "/etc",
        "etc/x",
        "/etc/../x",
        "/run/x",
        "/proc/1/environ",
        "//x",
        "/etc/x/",
    ] {
        let set = format!("--set=agent.sections.files={{{bad}}}");
        let output = helm(&["template", "x", CHART, REPOSITORY, "--kube-version=1.34.0", &set]);
        assert!(!output.status.success(), "{bad}");
    }
}
