//! Publishes the assembled state: sections into their slots, then the head; at once on a change,
//! else each beat, or each of so many beats where only the load has changed.
//!
//! ```text
//! board rings ─(25 ms)──┐
//! interval ─────────────┼─▶ assemble ─▶ changed sections ─▶ head ─▶ status.resendRequest?
//! back-off ─────────────┘
//! ```
//! A section of which the API server refuses an object for itself is named Unavailable, and the others go on (`refused`).
//! Invariants: the head is last; after a head write of unknown outcome the slots are learned anew;
//! while the API is away collecting goes on and one state is published when it is back, no sooner
//! than the API server asked for.

pub mod api;
pub mod brake;
pub mod door;
mod error;
pub mod ledger;
pub mod refused;
pub mod rhythm;

use std::time::Duration;

use futures::FutureExt;
use safetytwin_crds::HostSectionSpec;
use safetytwin_crds::digest::Digest;
use safetytwin_crds::hoststate::{HostStateSpec, Section};
use safetytwin_crds::section::{Encoding, SCHEMA_VERSION, object_name};
use tokio::time::{Instant, sleep, sleep_until};

use self::api::ClusterApi;
use self::brake::{Brake, pause};
pub use self::error::PublishError;
use self::ledger::{Ledger, Place};
use self::refused::Refusals;
use self::rhythm::{Occasion, Rhythm};
use crate::assemble::{Assembled, AssembledSection, Assembler, ObservedIs};
use crate::collect::board::Board;
use crate::metrics::Counts;
use crate::settings::{SelfTest, Settings};
use crate::{clock, head};

/// What arrives within this time is published together: what several collectors say of one change. Each has coalesced
/// its own burst before.
const BURST: Duration = Duration::from_millis(25);
/// Least time between two publications, so that a host in constant change does not flood the API server.
const APART: Duration = Duration::from_millis(250);
/// All named slots are applied again this often.
const REAPPLY: Duration = Duration::from_secs(600);
/// The `observed` section changes at most this often.
const OBSERVED: Duration = Duration::from_secs(60);
/// A policy that is installed together with the agent is in force a little later.
const POLICY_GRACE: Duration = Duration::from_secs(60);

/// The publisher.
pub struct Publisher {
    settings: Settings,
    board: Board,
    api: ClusterApi,
    brake: Brake,
    counts: Counts,
    assembler: Assembler,
    ledger: Ledger,
    refusals: Refusals,
    /// What the head in the cluster names is known.
    learned: bool,
    /// Uid of the head, to notice that it was deleted, and its sections with it.
    uid: Option<String>,
    /// The head in the cluster, without what moves by itself; unknown until a write of it is answered.
    told: Option<HostStateSpec>,
    /// When the `observed` section was renewed.
    observed: Option<Instant>,
    started: Instant,
    reapply_at: Instant,
    resend_answered: Option<String>,
    sequence: i64,
    failures: u32,
    tested: bool,
    self_test: SelfTest,
}

impl Publisher {
    /// A publisher of what is on `board`.
    pub fn new(
        settings: Settings,
        board: Board,
        (api, brake): (ClusterApi, Brake),
        self_test: SelfTest,
        counts: Counts,
    ) -> Self {
        Self {
            assembler: Assembler::with(settings.opt_in.names()),
            settings,
            board,
            api,
            brake,
            counts,
            ledger: Ledger::default(),
            refusals: Refusals::default(),
            learned: false,
            uid: None,
            told: None,
            observed: None,
            started: Instant::now(),
            reapply_at: Instant::now() + REAPPLY,
            resend_answered: None,
            sequence: 0,
            failures: 0,
            tested: false,
            self_test,
        }
    }

    /// Publishes for ever; returns only when the self-test says that it must not. Until then nothing is published.
    pub async fn run(mut self) -> PublishError {
        // The first looks of the collectors, so that the first head is whole where it can be.
        sleep(Duration::from_secs(1)).await;
        let settings = &self.settings;
        let mut rhythm = Rhythm::new(settings.host.as_str(), settings.interval, settings.beats_per_head);
        // What follows a failure is written in any case.
        let mut occasion = Occasion::Heartbeat;
        loop {
            match self.publish(occasion).await {
                Ok(()) => {
                    self.failures = 0;
                    self.brake.take();
                }
                Err(error @ PublishError::NotConfined { .. }) if self.started.elapsed() > POLICY_GRACE => {
                    return error;
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1).min(error.most());
                    self.counts.failures.inc();
                    self.learned &= !error.is_shut_out();
                    tracing::warn!(%error, failures = self.failures, "failed to publish");
                }
            }
            if self.failures > 0 {
                occasion = Occasion::Heartbeat;
                sleep(pause(self.failures, self.brake.take())).await;
                continue;
            }
            let now = Instant::now();
            let (beat, due) = rhythm.upcoming();
            occasion = tokio::select! {
                () = sleep_until(beat) => due,
                () = self.board.changed() => {
                    sleep_until((now + APART).max(Instant::now() + BURST)).await;
                    if Instant::now() < beat { Occasion::Change } else { due }
                }
            };
        }
    }

    /// One state, whole; between heartbeats without what can wait for the next.
    async fn publish(&mut self, occasion: Occasion) -> Result<(), PublishError> {
        // What rang until now is in this state.
        let _rang = self.board.changed().now_or_never();
        let observed = self.observed(occasion);
        let reports = self.board.reports();
        let state = self.assembler.assemble_with(&reports, &clock::now(), observed);
        if !self.tested {
            self.test(&state).await?;
        }
        self.api.renew().await;
        if !self.learned {
            self.learn(&state).await?;
        }
        if Instant::now() >= self.reapply_at {
            self.forget();
        }
        if occasion != Occasion::Heartbeat && self.is_told(&state) {
            return Ok(());
        }
        let known = self.uid.clone();
        let asked = self.commit(&state).await?;
        if known.is_some() && known != self.uid {
            tracing::info!("the HostState was deleted; writing everything again");
            self.lose();
            self.commit(&state).await?;
        }
        if asked.is_some() && asked != self.resend_answered {
            tracing::info!("the controller asks for everything again");
            self.lose();
            self.resend_answered = asked;
            self.commit(&state).await?;
        }
        Ok(())
    }

    /// Learns from the head in the cluster which slots it names; whoever is not let in knocks first.
    async fn learn(&mut self, state: &Assembled) -> Result<(), PublishError> {
        let host = self.settings.host.to_string();
        let head = match self.api.head(&host).await {
            Err(error) if error.is_shut_out() => {
                self.refusals.forget();
                self.api.knock(&self.bare(state)).await?;
                self.api.head(&host).await.map_err(|error| error.not_yet(&host))?
            }
            answer => answer?,
        };
        self.ledger.learn(head.as_ref().map(|h| &h.spec));
        self.uid = head.as_ref().and_then(|h| h.metadata.uid.clone());
        self.learned = true;
        if let Some(head) = head {
            self.continue_from(&head.spec);
        }
        Ok(())
    }

    /// A head that says that the host is there, and of what it runs nothing.
    fn bare(&self, state: &Assembled) -> HostStateSpec {
        head::spec(&self.settings, state, Vec::new(), self.sequence, None)
    }

    fn continue_from(&mut self, head: &HostStateSpec) {
        self.resend_answered.clone_from(&head.resend_answered);
        if head.boot_id == clock::boot_id(&self.settings.root) {
            self.sequence = self.sequence.max(head.sequence);
        }
    }

    fn forget(&mut self) {
        self.told = None;
        self.reapply_at = Instant::now() + REAPPLY;
        self.ledger.forget();
        self.refusals.forget();
    }

    /// As [`Self::forget`], where objects may be gone: what was accepted last of a refused section cannot be written
    /// again, so it is not named again.
    fn lose(&mut self) {
        self.forget();
        for name in self.refusals.names() {
            self.ledger.lose(name);
        }
    }

    /// A section as the head names it: as it is, or while that is refused, as it was accepted last.
    fn named(&self, section: &AssembledSection) -> Section {
        match self.refusals.of(section) {
            Some(refused) => refused.section(section.name, self.ledger.section(section.name)),
            None => head::section(section, self.ledger.places(section)),
        }
    }

    /// Whether the head in the cluster says all of this state but its load.
    fn is_told(&self, state: &Assembled) -> bool {
        let sections = state.sections.iter().map(|section| self.named(section));
        self.told.as_ref() == Some(&head::still(self.head(state, sections.collect())))
    }

    fn head(&self, state: &Assembled, sections: Vec<Section>) -> HostStateSpec {
        let answered = self.resend_answered.clone();
        head::spec(&self.settings, state, sections, self.sequence, answered)
    }

    /// Writes changed sections, then the head. Answers with the controller's resend request.
    async fn commit(&mut self, state: &Assembled) -> Result<Option<String>, PublishError> {
        let mut sections = Vec::new();
        for section in &state.sections {
            if self.refusals.of(section).is_none() {
                match self.write(section).await {
                    Ok(()) => self.refusals.accept(section.name),
                    Err(error) => self.refuse(section, error)?,
                }
            }
            sections.push(self.named(section));
        }
        self.sequence = (self.sequence + 1).max(clock::boottime_ms(&self.settings.root));
        let spec = self.head(state, sections);
        // Until there is an answer, whether the head was written is not known.
        self.learned = false;
        self.told = None;
        let written = self.api.put_head(&spec).await?;
        self.learned = true;
        self.ledger.committed(&written.spec);
        self.told = Some(head::still(spec));
        self.uid = written.metadata.uid;
        self.counts.heads.inc();
        Ok(written.status.and_then(|status| status.resend_request))
    }

    /// Notes that the section is refused, if it is that: everything else is an error of the whole publication.
    fn refuse(&mut self, section: &AssembledSection, error: PublishError) -> Result<(), PublishError> {
        let refusal = match &error {
            PublishError::Api(error) => error.refusal(),
            _ => None,
        };
        let Some(why) = refusal else {
            return Err(error);
        };
        self.counts.refused.inc();
        self.refusals.refuse(section, &why, &clock::now());
        tracing::warn!(section = %section.name, %error, "a section is refused, the others go on");
        Ok(())
    }

    async fn write(&mut self, section: &AssembledSection) -> Result<(), PublishError> {
        let places = self.ledger.places(section);
        for (number, (part, place)) in section.parts.iter().zip(&places).enumerate() {
            let slot = Place {
                section: section.name,
                part: number,
                slot: place.slot,
            };
            if !self.ledger.needs(slot, part.digest) {
                continue;
            }
            let data = part
                .data(Encoding::ZstdBase64)
                .map_err(|source| PublishError::Section {
                    section: section.name,
                    source,
                })?;
            let host = &self.settings.host;
            let spec = HostSectionSpec {
                host: host.clone(),
                section: section.name,
                part: i32::try_from(number).unwrap_or(0),
                slot: place.slot,
                schema_version: SCHEMA_VERSION,
                encoding: Encoding::ZstdBase64,
                data,
            };
            let name = object_name(host.as_str(), section.name, number, place.slot);
            self.api.put_section(&name, spec).await?;
            self.ledger.wrote(slot, part.digest);
            self.counts.parts.inc();
        }
        Ok(())
    }

    /// Keeps the last `observed` content until its time has come; a change does not wait for it.
    fn observed(&mut self, occasion: Occasion) -> ObservedIs {
        let now = Instant::now();
        let keep = match occasion {
            // One that comes a little sooner than the last did is not put off to the next.
            Occasion::Heartbeat => OBSERVED.saturating_sub(self.settings.interval / 2),
            Occasion::Beat => Duration::MAX,
            Occasion::Change => 2 * OBSERVED.max(self.settings.heartbeat()),
        };
        match self.observed {
            Some(since) if now.duration_since(since) < keep => ObservedIs::Kept,
            _ => {
                self.observed = Some(now);
                ObservedIs::Renewed
            }
        }
    }

    /// A dry run of a write that must be refused.
    async fn test(&mut self, state: &Assembled) -> Result<(), PublishError> {
        let spec = self.bare(state);
        let foreign = format!(
            "self-test-{}",
            Digest::of(self.settings.host.as_str().as_bytes()).short()
        );
        let refused = self.api.foreign_write_is_refused(&spec, &foreign).await?;
        if !refused && self.self_test == SelfTest::Require {
            return Err(PublishError::NotConfined {
                host: self.settings.host.to_string(),
            });
        }
        self.tested = true;
        if !refused {
            tracing::warn!(
                "THIS AGENT IS NOT CONFINED: the cluster lets it write other hosts' objects; install the admission policy (chart value agent.admission.enabled) and start without --admission-self-test=warn"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
