//! Compares units with what the host's run class asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use safetytwin_crds::item::Reason;
use safetytwin_crds::names::UnitName;

use super::ExecuteError;
use super::perform::Ended;
use crate::facts::{Active, UnitFacts};
use crate::guest::Guest;
use crate::plan::Expect;

/// Time after the jobs in which a process that cannot live dies: a simple service counts as started at its fork.
const SETTLE: Duration = Duration::from_millis(300);
/// Looks at units that are still on their way.
const LOOKS: u32 = 30;
/// Time between two looks.
const BETWEEN: Duration = Duration::from_millis(500);

/// Looks until every unit is where it should be, has failed, or the looks are used up.
pub(super) async fn verify(
    guest: &dyn Guest,
    expected: &[(UnitName, Expect)],
) -> Result<Ended, ExecuteError> {
    let wanted: BTreeMap<&UnitName, Expect> = expected.iter().map(|(unit, expect)| (unit, *expect)).collect();
    let names: Vec<UnitName> = expected
        .iter()
        .filter(|(_, expect)| *expect != Expect::Any)
        .map(|(unit, _)| unit.clone())
        .collect();
    if names.is_empty() {
        return Ok(Ended::Done);
    }
    tokio::time::sleep(SETTLE).await;
    let mut failed = Vec::new();
    for look in 1..=LOOKS {
        let facts = guest.units(&names).await?;
        let verdicts: Vec<(&UnitFacts, Verdict)> = facts
            .iter()
            .map(|fact| {
                (
                    fact,
                    judge(fact, wanted.get(&fact.name).copied().unwrap_or(Expect::Any)),
                )
            })
            .collect();
        failed = verdicts
            .iter()
            .filter_map(|(fact, verdict)| match verdict {
                Verdict::Right => None,
                Verdict::OnItsWay | Verdict::Wrong => {
                    Some((fact.name.clone(), Reason::FailedToStart, describe(fact)))
                }
            })
            .collect();
        if look == LOOKS || !verdicts.iter().any(|(_, verdict)| *verdict == Verdict::OnItsWay) {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(if failed.is_empty() {
        Ended::Done
    } else {
        Ended::ItemsFailed(failed)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    OnItsWay,
    Wrong,
}

fn judge(fact: &UnitFacts, expect: Expect) -> Verdict {
    match (expect, fact.active) {
        (Expect::Any, _)
        | (Expect::Up, Active::Active | Active::Reloading)
        | (Expect::Down, Active::Inactive | Active::Failed) => Verdict::Right,
        // Between two attempts of Restart=: it runs on the host and cannot here.
        (Expect::Up, Active::Activating) if fact.sub == "auto-restart" => Verdict::Wrong,
        (_, Active::Activating | Active::Deactivating) => Verdict::OnItsWay,
        (Expect::Up, Active::Inactive | Active::Failed)
        | (Expect::Down, Active::Active | Active::Reloading) => Verdict::Wrong,
    }
}

fn describe(fact: &UnitFacts) -> String {
    let state = format!("{:?}", fact.active).to_lowercase();
    match fact.result.as_str() {
        "" | "success" => format!("it is {state} ({}) in the twin", fact.sub),
        result => format!(
            "it is {state} in the twin: {result}, exit status {}",
            fact.exit_status
        ),
    }
}
