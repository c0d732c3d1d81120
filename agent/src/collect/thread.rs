//! A thread for each collector, with a runtime of its own: what one does to its thread, it does to itself.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::board::Board;
use super::meter::Meter;
use super::runner::{look, run};
use super::size::Sizes;
use super::{CollectError, Collector, Scope};

/// How long after its budget of time a look that does not come back is given up.
pub const GRACE: Duration = Duration::from_secs(5);

/// Runs a collector for ever, on a thread that ends with the process: it holds nothing that must be put back.
///
/// # Errors
/// The system has no thread or no event queue left.
pub fn start(collector: Box<dyn Collector>, board: Board) -> std::io::Result<Meter> {
    let meter = Meter::new(collector.as_ref());
    let own = meter.clone();
    spawn(meter.name, move |runtime| {
        own.runs_here();
        runtime.block_on(run(collector, board, own));
    })?;
    Ok(meter)
}

/// Looks once and posts what that gave, also when it does not come back.
///
/// # Errors
/// The system has no thread or no event queue left.
pub async fn once(mut collector: Box<dyn Collector>, board: &Board) -> std::io::Result<()> {
    let meter = Meter::new(collector.as_ref());
    let (own, (answer, answered)) = (meter.clone(), oneshot::channel());
    spawn(meter.name, move |runtime| {
        own.runs_here();
        let (result, _) = runtime.block_on(look(
            collector.as_mut(),
            Scope::Audit,
            &own,
            &mut Sizes::default(),
        ));
        own.feeds(collector.section());
        // Nobody waits any more when it was given up.
        let _late = answer.send(result);
    })?;
    let silent = meter.budget.wall + GRACE;
    let result = match timeout(silent, answered).await {
        Ok(answer) => answer.unwrap_or(Err(CollectError::Panicked)),
        Err(_) => Err(CollectError::Stuck {
            silent,
            cpu: meter.thread_cpu().unwrap_or_default(),
        }),
    };
    board.post(meter.name, meter.section(), result);
    Ok(())
}

fn spawn(name: &str, work: impl FnOnce(Runtime) + Send + 'static) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(runtime))?;
    Ok(())
}
