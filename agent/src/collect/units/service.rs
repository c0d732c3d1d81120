//! What a service runs, from D-Bus and from its files.

use safetytwin_crds::item::unit::Service;
use safetytwin_crds::names::{UnitName, UnitType};
use zbus::{OwnedVariant, Variant};

use super::text::{UnitText, words};
use super::variant::{Map, rows, text, texts, truth};
use crate::collect::accounts::Accounts;

const COMMANDS: [&str; 3] = ["ExecStartPre", "ExecStart", "ExecStartPost"];

/// A loaded service.
pub fn loaded(map: &Map, accounts: &Accounts) -> Option<Service> {
    map.contains_key("ExecMainPID").then_some(())?;
    let get = |key| map.get(key).and_then(text).filter(|t: &String| !t.is_empty());
    let list = |key| map.get(key).map(texts).unwrap_or_default();
    let names = list("Environment").into_iter();
    let file = |fields: &[Variant<'static>]| match fields {
        [Variant::Str(path), Variant::Bool(true)] => Some(format!("-{path}")),
        [Variant::Str(path), _] => Some(path.to_string()),
        _ => None,
    };
    Some(Service {
        type_: get("Type").unwrap_or_default(),
        remain_after_exit: map.get("RemainAfterExit").is_some_and(truth),
        executables: COMMANDS
            .iter()
            .flat_map(|key| map.get(*key).map(executables).unwrap_or_default())
            .collect(),
        user: get("User").map(|name| accounts.user(&name)),
        group: get("Group").map(|name| accounts.group(&name)),
        // "!" marks a directory that may be missing; "~" is the user's home.
        working_directory: get("WorkingDirectory").filter(|path| path.starts_with('/')),
        dynamic_user: map.get("DynamicUser").is_some_and(truth),
        environment_names: sorted(names.filter_map(name)),
        environment_files: map
            .get("EnvironmentFiles")
            .into_iter()
            .flat_map(rows)
            .filter_map(file)
            .collect(),
        pass_environment: sorted(list("PassEnvironment").into_iter()),
    })
}

/// A service as its files say it.
pub fn written(unit: &UnitName, text: &UnitText, accounts: &Accounts) -> Option<Service> {
    (unit.unit_type() == UnitType::Service).then_some(())?;
    let get = |key| text.last("Service", key);
    let list = |key| text.all("Service", key).into_iter().flat_map(words);
    let default_type = match (get("BusName"), get("ExecStart")) {
        (Some(_), _) => "dbus",
        (None, Some(_)) => "simple",
        (None, None) => "oneshot",
    };
    Some(Service {
        type_: get("Type").unwrap_or(default_type).to_owned(),
        remain_after_exit: text.flag("Service", "RemainAfterExit"),
        executables: COMMANDS
            .iter()
            .flat_map(|key| text.all("Service", key))
            .filter_map(executable)
            .collect(),
        user: get("User").map(|name| accounts.user(name)),
        group: get("Group").map(|name| accounts.group(name)),
        working_directory: get("WorkingDirectory")
            .filter(|d| d.starts_with('/'))
            .map(str::to_owned),
        dynamic_user: text.flag("Service", "DynamicUser"),
        environment_names: sorted(list("Environment").filter_map(name)),
        environment_files: text
            .all("Service", "EnvironmentFile")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        pass_environment: sorted(list("PassEnvironment")),
    })
}

/// The name in an assignment; what has none sets nothing.
fn name(assignment: String) -> Option<String> {
    let (name, _) = assignment.split_once('=')?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    names
}

/// Paths of an `a(sasbttttuii)` command list whose failure is not ignored.
fn executables(value: &OwnedVariant) -> Vec<String> {
    let path = |fields: &[Variant<'static>]| match fields {
        [Variant::Str(path), _, Variant::Bool(false), ..] => Some(path.to_string()),
        _ => None,
    };
    rows(value).filter_map(path).collect()
}

/// The program of a command line, unless its failure is ignored (systemd.service(5), prefixes).
fn executable(command: &str) -> Option<String> {
    let program = command.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefix = command.get(..command.len() - program.len())?;
    if prefix.contains('-') {
        return None;
    }
    words(program).into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_odd_variables_the_names_are_told_from_files_and_bus_alike_and_never_a_value() {
        let assignments = [
            "A B=S3cr3t",
            "=S3cr3t",
            "LD_PRELOAD=S3cr3t",
            "LD_LIBRARY_PATH=S3cr3t",
            "BASH_FUNC_x%%=() { S3cr3t; }",
            "A.B=S3cr3t",
            "A.B=S3cr3t=S3cr3t",
            "S3cr3t",
        ];
        let mut text = UnitText::default();
        for assignment in assignments {
            text.add(&format!("[Service]\nEnvironment=\"{assignment}\"\n"));
        }
        let own = |value: Variant<'_>| OwnedVariant::try_from(value).unwrap();
        let map = Map::from([
            ("ExecMainPID".to_owned(), own(Variant::from(0u32))),
            ("Environment".to_owned(), own(Variant::from(assignments.to_vec()))),
        ]);
        let accounts = Accounts::default();
        let written = written(&"a.service".parse().unwrap(), &text, &accounts);
        for service in [written.unwrap(), loaded(&map, &accounts).unwrap()] {
            assert_eq!(
                service.environment_names,
                ["A B", "A.B", "BASH_FUNC_x%%", "LD_LIBRARY_PATH", "LD_PRELOAD"]
            );
            assert!(!format!("{service:?}").contains("S3cr3t"), "{service:?}");
        }
    }
}
