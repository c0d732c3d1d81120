//! PURE: what a finished operation leaves in the twin's status.

use jiff::Timestamp;
use safetytwin_crds::DigitalTwinStatus;
use safetytwin_crds::digitaltwin::{Change, Operation};
use safetytwin_crds::names::printable;

/// How many changes are kept.
const KEPT: usize = 10;

/// Adds a change, newest first, and ends the operation. The same operation is added once.
pub fn finish(
    status: &mut DigitalTwinStatus,
    operation: &Operation,
    result: &str,
    revision: i64,
    now: Timestamp,
) {
    let begun = operation.started_time.parse::<Timestamp>().unwrap_or(now);
    let took = now.duration_since(begun).as_millis();
    let change = Change {
        time: format!("{now:.0}"),
        summary: printable(&operation.summary, 512),
        milliseconds: i64::try_from(took).unwrap_or(0).max(0),
        result: printable(result, 32),
        revision,
        snapshot: operation.snapshot_name.clone(),
    };
    status.changed_time = Some(change.time.clone());
    status.last_change = Some(printable(&operation.summary, 128));
    status.changes.retain(|c| c.snapshot != change.snapshot);
    status.changes.insert(0, change);
    status.changes.truncate(KEPT);
    status.operation = None;
}

/// "1.8 s" of milliseconds.
pub fn seconds(milliseconds: i64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::digitaltwin::OperationKind;

    use super::*;

    fn operation(number: i64) -> Operation {
        Operation {
            number,
            kind: OperationKind::Apply,
            base_revision: number - 1,
            target_revision: number,
            snapshot_name: format!("web-01-r{number:04}-9c1e"),
            epoch: 1,
            started_time: "2026-11-22T14:30:00Z".into(),
            restore_name: None,
            summary: "nginx.service changed".into(),
        }
    }

    #[test]
    fn the_newest_ten_changes_are_kept_and_a_redo_adds_none() {
        let now: Timestamp = "2026-11-22T14:30:01.8Z".parse().unwrap();
        let mut status = DigitalTwinStatus::default();
        for number in 1..=12 {
            finish(&mut status, &operation(number), "Applied", number, now);
        }
        finish(&mut status, &operation(12), "Applied", 12, now);
        let revisions: Vec<i64> = status.changes.iter().map(|c| c.revision).collect();
        assert_eq!(revisions, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
        assert_eq!(status.changes[0].milliseconds, 1800);
        assert_eq!(seconds(status.changes[0].milliseconds), "1.8 s");
        assert!(status.operation.is_none());
    }
}
