//! The control plane's binaries, built from Go modules pinned under `e2e/control-plane/`.
//!
//! One directory per module group in the cache, named by version and recipe. `KUBEBUILDER_ASSETS` (the
//! convention of setup-envtest) is honoured for etcd, kube-apiserver and kubectl.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::fresh_log;
use crate::cache::{Cache, build_directory, recipe_key};
use crate::command::run_logged;
use crate::meminfo::kibibytes;
use crate::progress::stage;

/// One Go module whose pinned requirements are built together.
struct Group {
    name: &'static str,
    version: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    /// Flags of the linker beside `-s -w`.
    link: &'static str,
    /// Binary and package.
    binaries: &'static [(&'static str, &'static str)],
}

const GROUPS: &[Group] = &[
    Group {
        name: "kubernetes",
        version: "v1.34.4",
        go_mod: include_str!("../../control-plane/kubernetes/go.mod"),
        go_sum: include_str!("../../control-plane/kubernetes/go.sum"),
        link: "-X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 \
               -X k8s.io/component-base/version.gitMinor=34 -X k8s.io/component-base/version.gitTreeState=clean",
        binaries: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            (
                "kube-controller-manager",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
            ),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ],
    },
    Group {
        name: "etcd",
        version: "v3.6.16",
        go_mod: include_str!("../../control-plane/etcd/go.mod"),
        go_sum: include_str!("../../control-plane/etcd/go.sum"),
        link: "",
        binaries: &[("etcd", "go.etcd.io/etcd/server/v3")],
    },
    Group {
        name: "helm",
        version: "v3.22.0",
        go_mod: include_str!("../../control-plane/helm/go.mod"),
        go_sum: include_str!("../../control-plane/helm/go.sum"),
        link: "-X helm.sh/helm/v3/internal/version.version=v3.22.0",
        binaries: &[("helm", "helm.sh/helm/v3/cmd/helm")],
    },
];

/// Where the control plane's binaries lie, whether built yet or not.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    binaries: Vec<(&'static str, PathBuf)>,
    key: String,
}

impl ControlPlane {
    /// Resolves the place of each binary.
    ///
    /// # Errors
    /// `KUBEBUILDER_ASSETS` is set but does not exist.
    pub fn new(cache: &Cache) -> Result<Self> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        if let Some(assets) = assets.as_ref().filter(|assets| !assets.is_dir()) {
            bail!(
                "KUBEBUILDER_ASSETS is {}, which is no directory",
                assets.display()
            );
        }
        let mut binaries = Vec::new();
        for group in GROUPS {
            for (name, _) in group.binaries {
                let given = assets
                    .as_ref()
                    .map(|assets| assets.join(name))
                    .filter(|path| path.is_file());
                binaries.push((*name, given.unwrap_or_else(|| group.directory(cache).join(name))));
            }
        }
        Ok(Self {
            key: recipe_key(
                GROUPS
                    .iter()
                    .flat_map(|group| [group.go_mod, group.go_sum, group.link]),
            ),
            binaries,
        })
    }

    /// The path of `name`.
    ///
    /// # Errors
    /// The lab has no such binary.
    pub fn binary(&self, name: &str) -> Result<&Path> {
        let found = self.binaries.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, path)| path.as_path())
            .with_context(|| format!("the lab has no binary {name}"))
    }

    /// The directories that `PATH` needs, in order, each once.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for parent in self.binaries.iter().filter_map(|(_, path)| path.parent()) {
            if !directories.iter().any(|known| known == parent) {
                directories.push(parent.to_owned());
            }
        }
        directories
    }

    /// Changes when any pinned version or flag changes.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Builds what is missing.
    ///
    /// # Errors
    /// A build fails; the message names its log.
    pub fn build(&self, cache: &Cache) -> Result<()> {
        for group in GROUPS {
            let target = group.directory(cache);
            if group
                .binaries
                .iter()
                .all(|(name, _)| self.binary(name).is_ok_and(Path::is_file))
            {
                continue;
            }
            let log = fresh_log(cache, group.name)?;
            build_directory(&target, |directory| group.build(directory, &log))?;
        }
        self.check()
    }

    /// Checks that every binary is there.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self) -> Result<()> {
        match self.binaries.iter().find(|(_, path)| !path.is_file()) {
            Some((name, path)) => bail!("{name} is missing: {} does not exist", path.display()),
            None => Ok(()),
        }
    }
}

impl Group {
    fn directory(&self, cache: &Cache) -> PathBuf {
        let key = recipe_key([self.go_mod, self.go_sum, self.link]);
        cache
            .control_plane()
            .join(format!("{}-{}-{key}", self.name, self.version))
    }

    fn build(&self, directory: &Path, log: &Path) -> Result<()> {
        std::fs::write(directory.join("go.mod"), self.go_mod)?;
        std::fs::write(directory.join("go.sum"), self.go_sum)?;
        let names: Vec<&str> = self.binaries.iter().map(|(name, _)| *name).collect();
        let name = format!("{} {} from its Go module", names.join(", "), self.version);
        stage(&name, || {
            let mut go = Command::new("go");
            go.current_dir(directory)
                .env("CGO_ENABLED", "0")
                .env("GOFLAGS", "");
            if has_memory() {
                // The compiler spends a fifth of its time on garbage with Go's own setting.
                go.env("GOGC", "400");
            }
            go.args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                &format!("-s -w {}", self.link),
            ]);
            // Several at once, so that one is compiled while another is linked; Go names each by its path.
            let output = match self.binaries {
                [(name, _)] => name,
                _ => "./",
            };
            go.args(["-o", output])
                .args(self.binaries.iter().map(|(_, package)| *package));
            run_logged(&mut go, log)
        })
    }
}

/// Whether each processor's compiler may take 3 GiB.
fn has_memory() -> bool {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    kibibytes("MemAvailable").unwrap_or(0) >= processors as u64 * (3 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_requires_the_version_that_its_directory_names() {
        for group in GROUPS {
            // Required through its tools, hence marked as indirect.
            let end = format!(" {} // indirect", group.version);
            assert!(
                group.go_mod.lines().any(|line| line.ends_with(&end)),
                "{}",
                group.name
            );
        }
    }
}
