//! The objects of an operation: its TwinRevision and its automatic TwinSnapshot.

use jiff::Timestamp;
use kube::api::{ListParams, ObjectMeta};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource, ResourceExt as _};
use safetytwin_crds::condition::{Verdict, types};
use safetytwin_crds::names::{AUTOMATIC_LABEL, SNAPSHOT_FINALIZER, TWIN_LABEL, TWIN_UID_LABEL, printable};
use safetytwin_crds::revision::Content;
use safetytwin_crds::twinclass::PointMode;
use safetytwin_crds::twinsnapshot::TwinRef;
use safetytwin_crds::{
    Conditions as _, Digest, DigitalTwin, TwinRevision, TwinRevisionSpec, TwinSnapshot, TwinSnapshotSpec,
    TwinSnapshotStatus,
};

use super::super::api;
use super::super::error::Error;
use super::super::twin::home::uid_of;
use super::name_of;
use crate::vm::PointTaken;

/// What a revision is made from.
pub struct NewRevision<'a> {
    /// Operation number.
    pub number: i64,
    /// The desired content.
    pub content: &'a Content,
    /// Root digest of the host state that it comes from.
    pub root_digest: Digest,
    /// What changes, for people.
    pub summary: &'a str,
}

/// Writes the revision of a number. One that is there and equal is adopted; another one is left by
/// an attempt that never began, and replaced.
pub async fn write_revision(client: &Client, twin: &DigitalTwin, new: &NewRevision<'_>) -> Result<(), Error> {
    let revisions = revisions(client, twin);
    let name = name_of(twin, new.number)?;
    let encoded = new.content.encode().map_err(|source| Error::Terminal {
        reason: "RevisionTooLarge",
        message: format!("the desired content cannot be stored ({source}): exclude items in spec.replicate"),
    })?;
    let spec = TwinRevisionSpec {
        twin_ref: TwinRef {
            name: twin.name_any(),
        },
        twin_uid: uid_of(twin)?,
        number: new.number,
        root_digest: new.root_digest,
        generation: twin.metadata.generation.unwrap_or(0),
        items: i32::try_from(new.content.items.len()).unwrap_or(i32::MAX),
        summary: printable(new.summary, 512),
        content: encoded,
    };
    let mut revision = TwinRevision::new(&name, spec);
    revision.metadata = owned(twin, &name, &[])?;
    for _ in 0..2 {
        if api::create("write the revision", &revisions, &revision).await? {
            return Ok(());
        }
        match api::read("read the revision", &revisions, &name).await? {
            Some(found) if found.spec == revision.spec => return Ok(()),
            Some(found) => {
                api::delete("replace a revision", &revisions, &name, found.uid().as_deref()).await?;
            }
            None => {}
        }
    }
    Err(Error::NotYet {
        reason: "RevisionBusy",
        message: format!("revision {name} is being deleted"),
    })
}

/// The content of the revision of a number; `None` when there is no such revision.
pub async fn read_revision(
    client: &Client,
    twin: &DigitalTwin,
    number: i64,
) -> Result<Option<(TwinRevision, Content)>, Error> {
    let name = name_of(twin, number)?;
    let Some(revision) = api::read("read the revision", &revisions(client, twin), &name).await? else {
        return Ok(None);
    };
    let content = Content::decode(&revision.spec.content).map_err(|source| Error::Content {
        what: format!("revision {name}"),
        source,
    })?;
    Ok(Some((revision, content)))
}

/// Says in a revision's status whether its content is what the guest has.
pub async fn mark_revision(
    client: &Client,
    twin: &DigitalTwin,
    number: i64,
    verdict: Verdict,
    now: Timestamp,
) -> Result<(), Error> {
    let revisions = revisions(client, twin);
    let Some(mut revision) = api::read("read the revision", &revisions, &name_of(twin, number)?).await?
    else {
        return Ok(());
    };
    let mut status = revision.status.clone().unwrap_or_default();
    let generation = revision.metadata.generation;
    if status.conditions.set(types::APPLIED, verdict, generation, now) {
        revision.status = Some(status);
        api::write_status("write the revision's status", &revisions, &revision).await?;
    }
    Ok(())
}

/// Revisions of a twin.
pub fn revisions(client: &Client, twin: &DigitalTwin) -> Api<TwinRevision> {
    Api::namespaced(client.clone(), &twin.namespace().unwrap_or_default())
}

/// Snapshots of a twin.
pub fn snapshots(client: &Client, twin: &DigitalTwin) -> Api<TwinSnapshot> {
    Api::namespaced(client.clone(), &twin.namespace().unwrap_or_default())
}

/// All snapshots of a twin that decode, oldest first.
pub async fn list_snapshots(client: &Client, twin: &DigitalTwin) -> Result<Vec<TwinSnapshot>, Error> {
    let all: Api<DeserializeGuard<TwinSnapshot>> =
        Api::namespaced(client.clone(), &twin.namespace().unwrap_or_default());
    let params = ListParams::default().fields(&format!("spec.twinRef.name={}", twin.name_any()));
    let mut found: Vec<TwinSnapshot> = api::within("list snapshots", all.list(&params))
        .await?
        .items
        .into_iter()
        .filter_map(|s| s.0.ok())
        .filter(|s| s.spec.twin_ref.name == twin.name_any())
        .collect();
    found.sort_by_key(|s| (s.creation_timestamp().map(|c| c.0), s.name_any()));
    Ok(found)
}

/// Makes the TwinSnapshot of an automatic point, when there is none.
pub async fn ensure_snapshot(client: &Client, twin: &DigitalTwin, name: &str) -> Result<TwinSnapshot, Error> {
    let snapshots = snapshots(client, twin);
    if let Some(found) = api::read("read the snapshot", &snapshots, name).await? {
        return Ok(found);
    }
    let spec = TwinSnapshotSpec {
        twin_ref: TwinRef {
            name: twin.name_any(),
        },
        description: String::new(),
        pinned: false,
        mode: PointMode::Auto,
    };
    let mut snapshot = TwinSnapshot::new(name, spec);
    snapshot.metadata = owned(twin, name, &[(AUTOMATIC_LABEL, "true")])?;
    snapshot.metadata.finalizers = Some(vec![SNAPSHOT_FINALIZER.into()]);
    api::create("write the snapshot", &snapshots, &snapshot).await?;
    api::read("read the snapshot", &snapshots, name)
        .await?
        .ok_or_else(|| Error::NotYet {
            reason: "SnapshotGone",
            message: format!("snapshot {name} was deleted while it was being taken"),
        })
}

/// What is known of a point that was taken.
pub struct Taken<'a> {
    /// Name on the hypervisor.
    pub point: &'a str,
    /// What the hypervisor said.
    pub taken: &'a PointTaken,
    /// Why it has this mode.
    pub mode_reason: &'a str,
    /// Revision that it contains.
    pub revision: i64,
    /// The change it was taken before.
    pub before: &'a str,
}

/// Says in a snapshot's status that it is Ready and what it holds. A point that was found again
/// after a crash keeps the figures that are there.
pub async fn mark_taken(
    client: &Client,
    twin: &DigitalTwin,
    name: &str,
    taken: &Taken<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let snapshots = snapshots(client, twin);
    let Some(mut snapshot) = api::read("read the snapshot", &snapshots, name).await? else {
        return Ok(());
    };
    let mut status: TwinSnapshotStatus = snapshot.status.clone().unwrap_or_default();
    let is_said = status.conditions.is_true(types::READY) && status.point.as_deref() == Some(taken.point);
    if taken.taken.existed && is_said {
        return Ok(());
    }
    let generation = snapshot.metadata.generation;
    status.observed_generation = generation;
    status.point = Some(taken.point.to_owned());
    status.mode = Some(taken.taken.mode);
    status.mode_reason = Some(printable(taken.mode_reason, 256)).filter(|r| !r.is_empty());
    status.revision = Some(taken.revision);
    status.taken_time.get_or_insert_with(|| format!("{now:.0}"));
    status.taken_before = Some(printable(taken.before, 300));
    if !taken.taken.existed {
        status.pause_milliseconds = i64::try_from(taken.taken.milliseconds).ok();
    }
    if !taken.taken.existed || status.size_bytes.is_none() {
        status.size_bytes = i64::try_from(taken.taken.size_bytes).ok();
    }
    let verdict = Verdict::yes("Taken", "");
    status.conditions.set(types::READY, verdict, generation, now);
    if snapshot.status.as_ref() != Some(&status) {
        snapshot.status = Some(status);
        api::write_status("write the snapshot's status", &snapshots, &snapshot).await?;
    }
    Ok(())
}

/// Deletes a snapshot object; its finalizer removes the point.
pub async fn delete_snapshot(client: &Client, snapshot: &TwinSnapshot) -> Result<(), Error> {
    let api: Api<TwinSnapshot> = Api::namespaced(client.clone(), &snapshot.namespace().unwrap_or_default());
    api::delete(
        "delete a snapshot",
        &api,
        &snapshot.name_any(),
        snapshot.uid().as_deref(),
    )
    .await?;
    Ok(())
}

/// Deletes a revision by name; missing is success.
pub async fn delete_revision(client: &Client, twin: &DigitalTwin, name: &str) -> Result<(), Error> {
    api::delete("delete a revision", &revisions(client, twin), name, None).await?;
    Ok(())
}

/// Metadata of an object that goes with its twin.
fn owned(twin: &DigitalTwin, name: &str, labels: &[(&str, &str)]) -> Result<ObjectMeta, Error> {
    let uid = uid_of(twin)?;
    let twin_name = twin.name_any();
    let mut all = vec![(TWIN_UID_LABEL, uid.as_str()), (TWIN_LABEL, twin_name.as_str())];
    all.extend_from_slice(labels);
    Ok(ObjectMeta {
        name: Some(name.to_owned()),
        namespace: twin.namespace(),
        labels: Some(
            all.into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        ),
        owner_references: Some(twin.controller_owner_ref(&()).into_iter().collect()),
        ..ObjectMeta::default()
    })
}
