//! Notices a VM that was rebooted or reverted by hand: asks the hypervisor for each twin's
//! incarnation now and then (no SSH), and the guest for its boot id when a lost connection is back.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::context::{Context, Watched};

/// How often each VM is looked at.
const INTERVAL: Duration = Duration::from_secs(15);
/// Longest look at one VM.
const PATIENCE: Duration = Duration::from_secs(20);

/// Watches all VMs that drivers have opened, until `ended`.
pub async fn run(ctx: Arc<Context>, ended: impl Future<Output = ()>) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ended = std::pin::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return,
            _ = tick.tick() => {}
        }
        let _begun = ctx.pulse.begin("vmwatch");
        let looks = ctx.memory.watched().into_iter().map(|vm| {
            let ctx = Arc::clone(&ctx);
            async move {
                // A hypervisor that hangs holds up nobody else; the next tick asks again.
                let _late = tokio::time::timeout(PATIENCE, look(&ctx, &vm)).await;
            }
        });
        futures::future::join_all(looks).await;
    }
}

/// One look at a twin's VM; wakes its driver when it is another incarnation.
async fn look(ctx: &Context, watched: &Watched) {
    let facts = match watched.vm.observe().await {
        Ok(Some(facts)) if facts.running => facts,
        // Gone or stopped: the driver brings it back.
        Ok(_) => return ctx.memory.wake_twin(&watched.namespace, &watched.name),
        Err(error) => {
            tracing::debug!(twin = watched.name, %error, "failed to look at a VM");
            return;
        }
    };
    let machine = ctx.memory.saw_machine(&watched.uid, &facts.incarnation);
    let boot = other_boot(ctx, watched).await;
    if machine || boot {
        tracing::info!(twin = watched.name, "the VM was started or reverted by hand");
        ctx.memory.wake_twin(&watched.namespace, &watched.name);
    }
}

/// Whether a new connection finds another boot than the last one did. A live connection is not
/// used at all; a lost one is made again.
async fn other_boot(ctx: &Context, watched: &Watched) -> bool {
    let turn = ctx.memory.lock_of(&watched.uid);
    let Ok(_free) = turn.try_lock() else {
        // An operation under way uses the connection, and sets the twin right itself.
        return false;
    };
    let Ok(guest) = watched.door.connect(&watched.address).await else {
        return false;
    };
    if !ctx.memory.is_new_connection(&watched.uid, &guest) {
        return false;
    }
    match guest.boot_id().await {
        Ok(boot) => ctx.memory.saw_boot(&watched.uid, &boot),
        Err(_) => false,
    }
}
