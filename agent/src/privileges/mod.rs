//! `twin-agent --print-privileges`: what the agent may do where it runs, and why each of it.

mod table;

use serde::Serialize;

use crate::settings::Level;

/// What a privilege is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// The user that it runs as.
    User,
    /// A Linux capability.
    Capability,
    /// A namespace of the host.
    Namespace,
    /// Filters of system calls and mandatory access control.
    SystemCalls,
    /// A directory or socket of the host, in a pod.
    Mount,
    /// What of the file tree it may change, as a service.
    Files,
    /// A rule of the cluster's RBAC.
    Rbac,
}

/// One privilege, or one that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Privilege {
    /// About what.
    pub kind: Kind,
    /// As it is written where it is given.
    pub name: &'static str,
    /// The value of the chart that gives it; always, without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<&'static str>,
    /// What it is for.
    pub why: &'static str,
}

/// Where the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The chart's pod.
    Pod,
    /// `twin-agent.service`.
    Service,
}

/// All privileges of an agent there, at this level.
pub fn of(place: Place, level: Level) -> Vec<Privilege> {
    let capability = match level {
        Level::Full => table::PTRACE,
        Level::Basic => table::NO_CAPABILITY,
    };
    let rest = match place {
        Place::Pod => table::POD,
        Place::Service => table::SERVICE,
    };
    let mut all = vec![capability];
    all.extend(rest);
    all.sort_by_key(|p| p.kind);
    all
}

/// As aligned lines for people.
pub fn text(privileges: &[Privilege]) -> String {
    let head = [
        "KIND".to_owned(),
        "NAME".to_owned(),
        "WHEN".to_owned(),
        "WHY".to_owned(),
    ];
    let row = |p: &Privilege| {
        let kind = format!("{:?}", p.kind);
        [
            kind,
            p.name.to_owned(),
            p.when.unwrap_or("always").to_owned(),
            p.why.to_owned(),
        ]
    };
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(privileges.iter().map(row)).collect();
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [kind_width, name_width, when_width, _] = widths;
    let line = |[kind, name, when, why]: &[String; 4]| {
        format!("{kind:kind_width$}  {name:name_width$}  {when:when_width$}  {why}\n")
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = include_str!("../../packaging/twin-agent.service");

    /// What of the unit says what the service may do; the rest says when and how it runs.
    fn restrictions() -> Vec<&'static str> {
        let ordinary = [
            "Environment",
            "EnvironmentFile",
            "ExecStart",
            "Restart",
            "RestartSec",
            "MemoryMax",
            "CapabilityBoundingSet",
        ];
        let section = UNIT
            .split("[Service]")
            .nth(1)
            .unwrap()
            .split("[Install]")
            .next()
            .unwrap();
        let lines = section
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .filter(|line| !ordinary.contains(&line.split('=').next().unwrap()))
            .collect()
    }

    #[test]
    fn every_restriction_of_the_service_is_explained_and_every_explanation_is_true() {
        let explained = of(Place::Service, Level::Full);
        let names: Vec<&str> = explained.iter().map(|p| p.name).collect();
        for line in restrictions() {
            assert!(names.contains(&line), "{line} is not explained");
        }
        for privilege in &explained {
            let given = match privilege.kind {
                Kind::User => !UNIT.contains("\nUser="),
                Kind::Capability => UNIT.contains(&format!("\nCapabilityBoundingSet={}\n", privilege.name)),
                // The cluster gives it; the chart's tests compare.
                Kind::Rbac => true,
                _ => restrictions().contains(&privilege.name),
            };
            assert!(given, "{privilege:?} is explained and not so");
        }
    }

    #[test]
    fn no_place_needs_more_than_three_rules_or_one_capability_unless_it_is_chosen() {
        for (place, level) in [
            (Place::Pod, Level::Basic),
            (Place::Pod, Level::Full),
            (Place::Service, Level::Full),
        ] {
            let all = of(place, level);
            let needed = || all.iter().filter(|p| p.when.is_none());
            let count = |kind| needed().filter(|p| p.kind == kind).count();
            assert!(count(Kind::Rbac) <= 3 && count(Kind::Capability) == 1);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let text = text(&of(Place::Pod, Level::Full));
        let lines: Vec<&str> = text.lines().collect();
        let column = lines[0].find("WHY").unwrap();
        assert!(
            lines
                .iter()
                .all(|line| line.as_bytes()[column - 1] == b' ' && line.as_bytes()[column] != b' ')
        );
        assert!(text.contains("CAP_SYS_PTRACE") && text.contains("agent.containers.docker"));
    }
}
