//! One connection, owned by one thread.
//!
//! libvirt's calls block and cannot be cancelled. Calls go to the thread as closures and are
//! awaited with a deadline. When one takes too long the whole thread is *abandoned*: its queue is
//! dropped, the call under way finds out before its next effect ([`Session::check`]), and the next
//! call opens a new connection. So a call that came back late does nothing more. The outcome of
//! the one that hung is unknown: the caller observes before it acts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use virt::connect::Connect;

use super::super::VmError;
use super::endpoint::Endpoint;

/// What a call works with on the owner thread.
pub(super) struct Session<'a> {
    endpoint: &'a Endpoint,
    connect: &'a Connect,
    shared: &'a Shared,
}

impl Session<'_> {
    pub(super) fn connect(&self) -> &Connect {
        self.connect
    }

    pub(super) fn uri(&self) -> &str {
        self.endpoint.uri()
    }

    /// Asked before every effect: nobody waits for an abandoned call any more, so it must stop.
    ///
    /// # Errors
    /// The call was abandoned.
    pub(super) fn check(&self) -> Result<(), VmError> {
        if self.shared.abandoned.load(Ordering::Acquire) {
            return Err(self.endpoint.unreachable("the call was given up"));
        }
        Ok(())
    }
}

/// Of the thread and of those who wait for it.
#[derive(Default)]
struct Shared {
    abandoned: AtomicBool,
    /// When the call under way must have ended.
    due: Mutex<Option<Instant>>,
}

impl Shared {
    fn overdue(&self) -> bool {
        lock(&self.due).is_some_and(|due| Instant::now() > due)
    }
}

/// Runs one call; answers whether the connection can be used again.
type Run = Box<dyn FnOnce(Result<&Session<'_>, VmError>) -> bool + Send>;

struct Job {
    deadline: Duration,
    begun: oneshot::Sender<()>,
    run: Run,
}

#[derive(Clone)]
struct Worker {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
}

/// A connection to one endpoint; opened by the first call, and again when it broke.
pub(super) struct Link {
    endpoint: Endpoint,
    worker: Mutex<Option<Worker>>,
}

impl Link {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            worker: Mutex::new(None),
        }
    }

    /// Runs `work` on the owner thread. Its deadline begins when its turn comes.
    ///
    /// # Errors
    /// Those of `work`; [`VmError::Deadline`]; [`VmError::Unreachable`] when there is no connection
    /// or another call hung before this one began.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        call: &'static str,
        deadline: Duration,
        work: impl FnOnce(&Session<'_>) -> Result<R, VmError> + Send + 'static,
    ) -> Result<R, VmError> {
        let worker = self.worker()?;
        let (begun, mut has_begun) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let run: Run = Box::new(move |session| {
            // Whoever asked has gone: nothing was done, nothing needs to be.
            if answer.is_closed() {
                return true;
            }
            let result = session.and_then(|session| guarded(call, || work(session)));
            let usable = !matches!(result, Err(VmError::Unreachable { .. }));
            // A caller that left meanwhile does not want the answer.
            let _ = answer.send(result);
            usable
        });
        let job = Job { deadline, begun, run };
        let gone = || self.endpoint.unreachable("the connection was given up");
        worker.jobs.send(job).map_err(|_| gone())?;
        loop {
            match tokio::time::timeout(Duration::from_secs(1), &mut has_begun).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return Err(gone()),
                Err(_) if worker.shared.overdue() => {
                    self.abandon(&worker);
                    return Err(gone());
                }
                Err(_) => {}
            }
        }
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(gone()),
            Err(_) => {
                self.abandon(&worker);
                Err(VmError::Deadline {
                    call,
                    seconds: deadline.as_secs(),
                })
            }
        }
    }

    fn worker(&self) -> Result<Worker, VmError> {
        let mut slot = lock(&self.worker);
        if let Some(worker) = slot.as_ref() {
            return Ok(worker.clone());
        }
        let (jobs, queue) = channel();
        let shared = Arc::new(Shared::default());
        let (endpoint, thread_shared) = (self.endpoint.clone(), Arc::clone(&shared));
        std::thread::Builder::new()
            .name("libvirt".into())
            .spawn(move || own(&endpoint, &thread_shared, &queue))
            .map_err(|error| self.endpoint.unreachable(&format!("no thread: {error}")))?;
        let worker = Worker { jobs, shared };
        *slot = Some(worker.clone());
        Ok(worker)
    }

    /// The next call gets a new thread; this one does nothing more.
    fn abandon(&self, worker: &Worker) {
        worker.shared.abandoned.store(true, Ordering::Release);
        let mut slot = lock(&self.worker);
        if slot
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(&current.shared, &worker.shared))
        {
            *slot = None;
        }
    }
}

/// The owner thread: runs calls in turn until nobody can send any, or it is abandoned.
fn own(endpoint: &Endpoint, shared: &Shared, queue: &Receiver<Job>) {
    let mut connect: Option<Connect> = None;
    while let Ok(job) = queue.recv() {
        if shared.abandoned.load(Ordering::Acquire) {
            break;
        }
        *lock(&shared.due) = Some(Instant::now() + job.deadline);
        // The caller may have left; `run` sees that itself.
        let _ = job.begun.send(());
        // A round trip: a connection that broke since the last call shows now, before any effect.
        if connect
            .as_ref()
            .is_some_and(|open| open.get_lib_version().is_err())
        {
            close(connect.take());
        }
        let opened = match connect.take() {
            Some(open) => Ok(open),
            None => endpoint.open(),
        };
        match opened {
            Ok(open) => {
                let session = Session {
                    endpoint,
                    connect: &open,
                    shared,
                };
                if (job.run)(Ok(&session)) {
                    connect = Some(open);
                } else {
                    close(Some(open));
                }
            }
            Err(error) => {
                (job.run)(Err(error));
            }
        }
        *lock(&shared.due) = None;
    }
    close(connect);
}

/// `Connect` has no destructor.
fn close(connect: Option<Connect>) {
    if let Some(mut connect) = connect {
        // A connection that broke cannot be closed in order; its memory is freed all the same.
        let _ = connect.close();
    }
}

/// The binding panics where libvirt fails in a destructor; that is one call's failure.
fn guarded<R>(call: &'static str, work: impl FnOnce() -> Result<R, VmError>) -> Result<R, VmError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(VmError::Failed {
            call,
            message: "the libvirt binding panicked".into(),
        })
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libvirt's own driver for tests lives in the client library: no daemon, no network.
    const TEST_DRIVER: &str = "test:///default";

    fn link(uri: &str) -> Link {
        Link::new(Endpoint::new(uri, None).unwrap())
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_given_up_and_stops_before_its_next_effect() {
        let link = link(TEST_DRIVER);
        let (late, seen) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let hung = link.call("hang", Duration::from_secs(1), move |session| {
            let _ = released.recv();
            late.send(session.check().is_err()).ok();
            Ok(())
        });
        assert!(matches!(hung.await, Err(VmError::Deadline { call: "hang", .. })));
        // The next call does not wait for it.
        let answer = link.call("version", Duration::from_secs(60), |session| {
            session.check()?;
            Ok(session.connect().get_lib_version().is_ok())
        });
        assert!(answer.await.unwrap());
        release.send(()).unwrap();
        // On a busy machine it may be given up before it began: then it never begins.
        assert!(seen.recv().unwrap_or(true), "the late call went on");
    }

    #[tokio::test]
    async fn a_panic_in_the_binding_is_one_calls_failure() {
        let link = link(TEST_DRIVER);
        let result: Result<(), _> = link
            .call("drop", Duration::from_secs(60), |_| {
                panic!("as a destructor does")
            })
            .await;
        assert!(matches!(result, Err(VmError::Failed { call: "drop", .. })));
        assert!(
            link.call("next", Duration::from_secs(60), |_| Ok(()))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_hypervisor_that_is_not_there_is_unreachable() {
        let link = link("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
        let result = link.call("observe", Duration::from_secs(60), |_| Ok(())).await;
        assert!(matches!(result, Err(VmError::Unreachable { .. })), "{result:?}");
    }
}
