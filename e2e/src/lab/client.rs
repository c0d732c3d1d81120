//! A Kubernetes client of this process inside the lab's network.
//!
//! A network namespace belongs to a thread: the client, its runtime and all its connections live on one thread
//! that has entered it. The rest of the process stays outside.

use std::future::Future;

use anyhow::{Context, Result, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Lab;

impl Lab {
    /// Runs `work` with the administrator's client on a thread inside the lab's network.
    ///
    /// # Errors
    /// The lab is gone, or `work` fails.
    ///
    /// # Panics
    /// As `work` does.
    pub fn with_client<T, F>(&self, work: impl FnOnce(Client) -> F + Send) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>>,
    {
        self.in_network(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async { work(self.client().await?).await })
        })
    }

    /// Runs `work` on a thread inside the lab's network: the sockets that it opens are the lab's.
    ///
    /// # Errors
    /// The lab is gone, or `work` fails.
    ///
    /// # Panics
    /// As `work` does.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let run = || -> Result<T> {
            self.namespaces.enter_network()?;
            work()
        };
        std::thread::scope(|scope| match scope.spawn(run).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    async fn client(&self) -> Result<Client> {
        // Fails when a provider is installed already, which is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = Kubeconfig::read_from(self.kubeconfig()).context("failed to read the kubeconfig")?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Client::try_from(config).map_err(|error| anyhow!("failed to make a client: {error}"))
    }
}
