//! The connection to the cluster, as kubectl would make it.

use std::path::PathBuf;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Which cluster and which namespace the user means.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--namespace`.
    pub namespace: Option<String>,
}

impl Cluster {
    /// A client, and the namespace to work in.
    pub async fn connect(&self) -> anyhow::Result<(Client, String)> {
        let config = self.config().await?;
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("failed to connect to the cluster")?;
        Ok((client, namespace))
    }

    /// How the cluster is reached.
    pub async fn config(&self) -> anyhow::Result<Config> {
        Ok(match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("failed to read kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .with_context(|| format!("failed to use kubeconfig {}", path.display()))?
            }
            None => Config::infer()
                .await
                .context("failed to find a cluster: give --kubeconfig, or set KUBECONFIG")?,
        })
    }
}
