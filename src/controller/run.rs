//! Wiring: lease, watches, drivers, health, stop.
//!
//! One task per kind. SIGTERM or a lost lease turns `running` false: no new reconcile begins, an
//! operation stops between two steps, and the process ends; another process resumes it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use futures::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::watcher;
use kube::{Api, Client};
use safetytwin_crds::{DigitalTwin, HostState, TwinClass, TwinRestore, TwinSnapshot};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::backoff::{Backoffs, Watches};
use super::context::{Context, Memory};
use super::drive::drive;
use super::events::Events;
use super::health::{self, Pulse};
use super::metrics::Metrics;
use super::ports::{Clock, Doors, Hypervisor};
use super::{class, host, leader, restore, snapshot, triggers, twin, twins, vmwatch};

/// Seconds after which the server ends a silent watch; heads come more often as a rule, so a dead one shows.
const WATCH_SECONDS: u32 = 290;

/// How long a step that runs at the end may take: a point, or a revert.
const LAST_STEP: std::time::Duration = std::time::Duration::from_secs(180);

/// How a controller is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The controller's own namespace.
    pub namespace: String,
    /// The namespace of the hosts' accounts.
    pub accounts: String,
    /// Address of health and metrics; none: not served.
    pub metrics_address: Option<SocketAddr>,
    /// Reconciles at the same time, per kind.
    pub concurrency: u16,
    /// Elect a leader through a Lease.
    pub elect: bool,
    /// Name of this process in leases and events.
    pub identity: String,
}

/// What a controller acts on.
#[derive(Clone)]
pub struct Ports {
    /// Hypervisors.
    pub hypervisors: Arc<dyn Hypervisor>,
    /// Doors to guests.
    pub doors: Arc<dyn Doors>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Why a controller ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kinds are not served.
    #[error(
        "failed to list digitaltwins.safetytwin.com; are the CustomResourceDefinitions installed (`kubectl apply -f crds/`, or the chart)?"
    )]
    KindsMissing(#[source] Box<kube::Error>),
    /// The lease could not be had.
    #[error("failed to take the lease")]
    Lease(#[source] Box<kube_lease_manager::LeaseManagerError>),
    /// The lease was lost.
    #[error("the lease was lost: another process leads")]
    LeaseLost,
    /// A driver ended while this process led.
    #[error("a driver ended by itself: this is a bug of the controller")]
    DriverEnded,
    /// Health and metrics could not be served.
    #[error("failed to serve {address}")]
    Serve {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Context {
    /// A context for `settings` and `ports`; acts while `running` is true.
    pub fn new(client: Client, settings: &Settings, ports: Ports, running: watch::Receiver<bool>) -> Self {
        Self {
            events: Events::new(client.clone(), &settings.identity),
            client,
            namespace: settings.namespace.clone(),
            accounts: settings.accounts.clone(),
            hypervisors: ports.hypervisors,
            doors: ports.doors,
            clock: ports.clock,
            metrics: Arc::new(Metrics::default()),
            pulse: Arc::new(Pulse::default()),
            backoffs: Backoffs::default(),
            memory: Memory::default(),
            twins: OnceLock::new(),
            running,
            busy: watch::channel(0).0,
        }
    }
}

/// Runs a controller until `stop` turns true.
pub async fn run(
    client: Client,
    settings: Settings,
    ports: Ports,
    stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let twins: Api<DeserializeGuard<DigitalTwin>> = Api::all(client.clone());
    twins
        .list(&kube::api::ListParams::default().limit(1))
        .await
        .map_err(|e| RunError::KindsMissing(Box::new(e)))?;
    let (tell, running) = watch::channel(false);
    let ctx = Arc::new(Context::new(client.clone(), &settings, ports, running));
    let mut tasks = JoinSet::new();
    if let Some(address) = settings.metrics_address {
        tasks.spawn(serve(address, Arc::clone(&ctx)));
    }
    let lead = if settings.elect {
        tokio::select! {
            lead = leader::acquire(client, &settings.namespace, &settings.identity) => lead.map_err(|e| RunError::Lease(Box::new(e)))?,
            () = stopped(stop.clone()) => return Ok(()),
            Some(Ok(Err(error))) = tasks.join_next() => return Err(error),
        }
    } else {
        watch::channel(true).1
    };
    // Both ends live in this function.
    let _unheard = tell.send(true);
    ctx.metrics.leads(true);
    tracing::info!(
        namespace = settings.namespace,
        identity = settings.identity,
        "leading"
    );
    let mut drivers = tokio::spawn(drivers(Arc::clone(&ctx), settings.concurrency));
    let lost = tokio::select! {
        () = stopped(stop) => false,
        () = lost(lead, settings.elect) => true,
        ended = &mut drivers => {
            tracing::error!(?ended, "a driver ended by itself");
            let _unheard = tell.send(false);
            return Err(RunError::DriverEnded);
        }
        Some(Ok(Err(error))) = tasks.join_next() => return Err(error),
    };
    tracing::info!("stopping");
    let _unheard = tell.send(false);
    ctx.metrics.leads(false);
    if lost {
        // Not even a running step is waited for: another process may act already.
        return Err(RunError::LeaseLost);
    }
    // The watches would wait for their longest back-off; only running reconciles are waited for.
    let mut busy = ctx.busy.subscribe();
    let _idle = tokio::time::timeout(LAST_STEP, busy.wait_for(|busy| *busy == 0)).await;
    drivers.abort();
    Ok(())
}

async fn serve(address: SocketAddr, ctx: Arc<Context>) -> Result<(), RunError> {
    let (metrics, pulse) = (Arc::clone(&ctx.metrics), Arc::clone(&ctx.pulse));
    let served = health::serve(address, metrics, pulse).await;
    served.map_err(|source| RunError::Serve { address, source })
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means that nobody can ask any more: never.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn lost(mut lead: watch::Receiver<bool>, elect: bool) {
    if !elect {
        std::future::pending::<()>().await;
    }
    // Also when the election's task is gone.
    let _gone = lead.wait_for(|leads| !*leads).await;
}

/// Runs all drivers until `running` turns false and their reconciles have ended, or one ends by itself.
async fn drivers(ctx: Arc<Context>, concurrency: u16) {
    let config = Config::default().concurrency(concurrency);
    let (wake_twins, wake_hosts) = ctx.memory.wakers();
    let mut tasks = JoinSet::new();
    let (seen, applied) = twins::seen_by(watcher(every::<DigitalTwin>(&ctx), watching()));
    let store = seen.store().clone();
    let controller = Controller::for_stream(applied, store.clone())
        .with_config(config.clone())
        .trigger_backoff(Watches::default());
    // Set once: this is the only place.
    let _first = ctx.twins.set(seen);
    let (for_hosts, sight_ctx) = (store.clone(), Arc::clone(&ctx));
    let twins = controller
        .watches(every::<HostState>(&ctx), watching(), move |host| {
            triggers::twins_of_host(&sight_ctx, &for_hosts, &host)
        })
        .watches(every::<TwinClass>(&ctx), watching(), move |class| {
            triggers::twins_of_class(&store, &class)
        })
        .watches(every::<TwinSnapshot>(&ctx), watching(), |s| {
            triggers::twin_of_snapshot(&s)
        })
        .watches(every::<TwinRestore>(&ctx), watching(), |r| {
            triggers::twin_of_restore(&r)
        })
        .reconcile_on(wake_twins)
        .graceful_shutdown_on(ended(&ctx))
        .run(
            |o, c| drive("digitaltwin", o, c, twin::reconcile),
            |_, error, _| match *error {},
            Arc::clone(&ctx),
        );
    tasks.spawn(twins.for_each(|_| std::future::ready(())));
    let hosts = Controller::new(every::<HostState>(&ctx), watching())
        .with_config(config.clone())
        .trigger_backoff(Watches::default())
        .watches(every::<DigitalTwin>(&ctx), watching(), |t| {
            triggers::host_of_twin(&t)
        })
        .reconcile_on(wake_hosts)
        .graceful_shutdown_on(ended(&ctx))
        .run(
            |o, c| drive("hoststate", o, c, host::reconcile),
            |_, error, _| match *error {},
            Arc::clone(&ctx),
        );
    tasks.spawn(hosts.for_each(|_| std::future::ready(())));
    spawn_small_drivers(&mut tasks, &ctx, &config);
    tasks.spawn(vmwatch::run(Arc::clone(&ctx), ended(&ctx)));
    while tasks.join_next().await.is_some() && !*ctx.running.borrow() {}
}

fn spawn_small_drivers(tasks: &mut JoinSet<()>, ctx: &Arc<Context>, config: &Config) {
    let classes = Controller::new(every::<TwinClass>(ctx), watching())
        .with_config(config.clone())
        .trigger_backoff(Watches::default())
        .watches(every::<DigitalTwin>(ctx), watching(), |t| {
            triggers::class_of_twin(&t)
        })
        .graceful_shutdown_on(ended(ctx))
        .run(
            |o, c| drive("twinclass", o, c, class::reconcile),
            |_, error, _| match *error {},
            Arc::clone(ctx),
        );
    tasks.spawn(classes.for_each(|_| std::future::ready(())));
    let snapshots = Controller::new(every::<TwinSnapshot>(ctx), watching())
        .with_config(config.clone())
        .trigger_backoff(Watches::default())
        .graceful_shutdown_on(ended(ctx))
        .run(
            |o, c| drive("twinsnapshot", o, c, snapshot::reconcile),
            |_, error, _| match *error {},
            Arc::clone(ctx),
        );
    tasks.spawn(snapshots.for_each(|_| std::future::ready(())));
    let restores = Controller::new(every::<TwinRestore>(ctx), watching())
        .with_config(config.clone())
        .trigger_backoff(Watches::default())
        .graceful_shutdown_on(ended(ctx))
        .run(
            |o, c| drive("twinrestore", o, c, restore::reconcile),
            |_, error, _| match *error {},
            Arc::clone(ctx),
        );
    tasks.spawn(restores.for_each(|_| std::future::ready(())));
}

fn every<K>(ctx: &Context) -> Api<DeserializeGuard<K>>
where
    DeserializeGuard<K>: kube::Resource<DynamicType = ()>,
{
    Api::all(ctx.client.clone())
}

fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// Resolves when this process must not act any longer.
fn ended(ctx: &Context) -> impl Future<Output = ()> + Send + Sync + 'static {
    let mut running = ctx.running.clone();
    async move {
        // Also when the sender is gone.
        let _gone = running.wait_for(|running| !*running).await;
    }
}
