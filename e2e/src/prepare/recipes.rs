//! What goes into the two images: packages, files and units.
//!
//! Files lie under `e2e/images/`, at the path they have in the image.

use std::path::PathBuf;

use anyhow::Result;

use super::control_plane::ControlPlane;

/// Names another Debian suite for the monitored host, such as `trixie`; `make test-on SUITE=trixie` sets it.
const HOST_SUITE: &str = "SAFETYTWIN_HOST_SUITE";

/// How an image is made.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Name of the image.
    pub name: &'static str,
    /// Debian suite; none is that of the build machine.
    pub suite: Option<String>,
    /// Size of the disk as the guest sees it, in MiB.
    pub size: u32,
    /// Packages beside the minimal system.
    pub packages: Vec<&'static str>,
    /// Path in the image and content.
    pub files: &'static [(&'static str, &'static str)],
    /// Units to enable.
    pub enable: &'static [&'static str],
    /// Units to disable.
    pub disable: &'static [&'static str],
    /// Binaries to copy to `/usr/local/bin`.
    pub binaries: Vec<PathBuf>,
    /// Stands for the content of `binaries` in the recipe's key.
    pub binaries_key: String,
}

/// What both kinds of machine have: both run services and containers, by Docker and by Podman.
const COMMON: &[&str] = &[
    "apparmor",
    "busybox-static",
    "catatonit",
    "crun",
    "dbus",
    "docker.io",
    "e2fsprogs",
    "iproute2",
    "iptables",
    "kmod",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "netavark",
    "nftables",
    "openssh-server",
    "podman",
    "procps",
    "qemu-guest-agent",
    "systemd",
    "systemd-sysv",
    "udev",
];

macro_rules! files {
    ($image:literal: $($path:literal)*) => {
        &[$(($path, include_str!(concat!("../../images/", $image, $path)))),*]
    };
}

/// The monitored host: a Kubernetes node.
///
/// # Errors
/// The control plane has no kubelet.
pub fn node(control_plane: &ControlPlane) -> Result<Recipe> {
    let own = [
        "ca-certificates",
        "containerd",
        "containernetworking-plugins",
        "cron",
        "runc",
        // Another service manager beside systemd; and what a user's Podman maps its users by.
        "runit",
        "uidmap",
    ];
    Ok(Recipe {
        name: "node",
        suite: std::env::var(HOST_SUITE).ok().filter(|suite| !suite.is_empty()),
        size: 8192,
        packages: [COMMON, &own].concat(),
        files: files!("node":
            "/etc/cni/net.d/10-bridge.conflist"
            "/etc/containerd/config.toml"
            "/etc/initramfs-tools/conf.d/lab.conf"
            "/etc/initramfs-tools/modules"
            "/etc/kubernetes/kubelet.yaml"
            "/etc/modules-load.d/kubernetes.conf"
            "/etc/ssh/sshd_config.d/lab.conf"
            "/etc/sysctl.d/90-kubernetes.conf"
            "/etc/systemd/network/10-lab.network"
            "/etc/systemd/system/etc-lab.mount"
            "/etc/systemd/system/kubelet.service"
            "/etc/systemd/system/lab-apiserver-address.service"
            "/etc/systemd/system/lab-images.service"
        ),
        enable: &[
            "etc-lab.mount",
            "kubelet.service",
            "lab-apiserver-address.service",
            "lab-images.service",
            "systemd-networkd.service",
        ],
        disable: &["apt-daily.timer", "apt-daily-upgrade.timer"],
        binaries: vec![control_plane.binary("kubelet")?.to_owned()],
        binaries_key: control_plane.key().to_owned(),
    })
}

/// The base image of twins.
pub fn twin() -> Recipe {
    Recipe {
        name: "twin",
        suite: None,
        size: 8192,
        packages: [COMMON, &["cloud-init", "python3", "sudo"]].concat(),
        files: files!("twin":
            "/etc/cloud/cloud.cfg.d/90-twin.cfg"
            "/etc/initramfs-tools/conf.d/lab.conf"
            "/etc/initramfs-tools/modules"
            "/etc/systemd/network/10-twin.network"
        ),
        enable: &["systemd-networkd.service", "docker.socket"],
        // Docker starts when something asks for it; a twin without containers boots faster.
        disable: &[
            "apt-daily.timer",
            "apt-daily-upgrade.timer",
            "containerd.service",
            "docker.service",
            "podman-auto-update.service",
            "podman-auto-update.timer",
            "podman-restart.service",
        ],
        binaries: Vec::new(),
        binaries_key: String::new(),
    }
}
