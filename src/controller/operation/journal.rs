//! The controller's side of a running operation: the fence before each effect, and the TwinSnapshot
//! once the point exists.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kube::Client;
use safetytwin_crds::DigitalTwin;
use safetytwin_crds::twinclass::PointMode;
use safetytwin_crds::twinsnapshot::TakenMode;

use super::objects::{self, Taken};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::ledger::Ledger;
use crate::controller::ports::Clock;
use crate::execute::{Journal, Refused};
use crate::plan::point_mode::ChosenMode;
use crate::vm::PointTaken;

/// What is recorded of an operation's point.
pub struct OperationJournal<'a> {
    ledger: &'a Ledger,
    client: Client,
    clock: Arc<dyn Clock>,
    /// The twin.
    twin: DigitalTwin,
    /// The TwinSnapshot.
    snapshot: String,
    /// Name on the hypervisor.
    point: String,
    /// Its mode, and why.
    mode: ChosenMode,
    /// Revision that the point contains.
    revision: i64,
    /// The change it is taken before.
    before: String,
}

/// What [`OperationJournal`] records of the point.
pub struct PointNote {
    /// The TwinSnapshot.
    pub snapshot: String,
    /// Name on the hypervisor.
    pub point: String,
    /// Its mode, and why.
    pub mode: ChosenMode,
    /// Revision that the point contains.
    pub revision: i64,
    /// The change it is taken before.
    pub before: String,
}

impl<'a> OperationJournal<'a> {
    /// The journal of one operation on `twin`.
    pub fn new(ctx: &Context, ledger: &'a Ledger, twin: DigitalTwin, note: PointNote) -> Self {
        Self {
            ledger,
            client: ctx.client.clone(),
            clock: Arc::clone(&ctx.clock),
            twin,
            snapshot: note.snapshot,
            point: note.point,
            mode: note.mode,
            revision: note.revision,
            before: note.before,
        }
    }

    async fn record(&self, taken: &PointTaken) -> Result<(), Error> {
        objects::ensure_snapshot(&self.client, &self.twin, &self.snapshot).await?;
        let mode_reason = match (self.mode.mode, taken.mode) {
            (PointMode::Auto, TakenMode::Disk) => "the hypervisor cannot keep the memory of this VM",
            _ => &self.mode.reason,
        };
        let note = Taken {
            point: &self.point,
            taken,
            mode_reason,
            revision: self.revision,
            before: &self.before,
        };
        objects::mark_taken(&self.client, &self.twin, &self.snapshot, &note, self.clock.now()).await
    }
}

#[async_trait]
impl Journal for OperationJournal<'_> {
    async fn guard(&self) -> Result<(), Refused> {
        self.ledger.guard().await.map_err(refused)
    }

    async fn point_taken(&self, point: &PointTaken) -> Result<(), Refused> {
        self.record(point).await.map_err(refused)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn refused(error: Error) -> Refused {
    Refused {
        reason: error.reason(),
        message: error.to_string(),
    }
}
