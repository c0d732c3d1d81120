//! What a unit declares, apart from its files themselves, what they name and its states.
//!
//! It is known twice: from D-Bus as it is in force, and from the files. Between an edit and the service
//! manager's reload the two differ; then it is what is in force, with what the edit changed. So an edit
//! is one change, and not a second one when the service manager has read it.

use std::collections::BTreeMap;

use safetytwin_crds::item::unit::{PathWatch, Service, Socket, Timer};
use safetytwin_crds::names::UnitName;

use super::properties::Live;
use super::text::UnitText;
use super::variant::Map;
use super::{limits, service, triggers};
use crate::collect::accounts::Accounts;

/// The declaration of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Limits that differ from systemd's defaults.
    pub limits: BTreeMap<String, String>,
    /// Of a service.
    pub service: Option<Service>,
    /// Of a timer.
    pub timer: Option<Timer>,
    /// Of a socket.
    pub socket: Option<Socket>,
    /// Of a path unit.
    pub path: Option<PathWatch>,
}

impl Declared {
    /// As it is in force.
    pub fn loaded(live: &Live) -> Self {
        Self {
            limits: live.limits.clone(),
            service: live.service.clone(),
            timer: live.timer.clone(),
            socket: live.socket.clone(),
            path: live.path.clone(),
        }
    }

    /// As the files say it. `manager` are the manager's own properties.
    pub fn written(unit: &UnitName, text: &UnitText, manager: &Map, accounts: &Accounts) -> Self {
        Self {
            limits: limits::written(text, manager, unit),
            service: service::written(unit, text, accounts),
            timer: triggers::written_timer(unit, text),
            socket: triggers::written_socket(unit, text),
            path: triggers::written_path(unit, text),
        }
    }

    /// This one, which is in force, after an edit of the files from `then` to `now`.
    pub fn edited(self, then: &Self, now: &Self) -> Self {
        Self {
            limits: values(self.limits, &then.limits, &now.limits),
            service: match (self.service, &then.service, &now.service) {
                (Some(own), Some(then), Some(now)) => Some(edited_service(own, then, now)),
                (own, then, now) => newer(own, then, now),
            },
            timer: newer(self.timer, &then.timer, &now.timer),
            socket: newer(self.socket, &then.socket, &now.socket),
            path: newer(self.path, &then.path, &now.path),
        }
    }
}

fn newer<T: Clone + PartialEq>(own: T, then: &T, now: &T) -> T {
    if then == now { own } else { now.clone() }
}

fn edited_service(own: Service, then: &Service, now: &Service) -> Service {
    Service {
        type_: newer(own.type_, &then.type_, &now.type_),
        remain_after_exit: newer(
            own.remain_after_exit,
            &then.remain_after_exit,
            &now.remain_after_exit,
        ),
        executables: newer(own.executables, &then.executables, &now.executables),
        user: newer(own.user, &then.user, &now.user),
        group: newer(own.group, &then.group, &now.group),
        working_directory: newer(
            own.working_directory,
            &then.working_directory,
            &now.working_directory,
        ),
        dynamic_user: newer(own.dynamic_user, &then.dynamic_user, &now.dynamic_user),
        environment_names: newer(
            own.environment_names,
            &then.environment_names,
            &now.environment_names,
        ),
        environment_files: newer(
            own.environment_files,
            &then.environment_files,
            &now.environment_files,
        ),
        pass_environment: newer(
            own.pass_environment,
            &then.pass_environment,
            &now.pass_environment,
        ),
    }
}

fn values(
    mut own: BTreeMap<String, String>,
    then: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    own.retain(|key, _| now.contains_key(key) || !then.contains_key(key));
    let changed = now.iter().filter(|(key, value)| then.get(*key) != Some(value));
    own.extend(changed.map(|(key, value)| (key.clone(), value.clone())));
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_changes_what_it_says_and_keeps_what_systemd_added() {
        let unit: UnitName = "a.service".parse().unwrap();
        let declared = |text: &str| {
            let mut parsed = UnitText::default();
            parsed.add(text);
            Declared::written(&unit, &parsed, &Map::new(), &Accounts::default())
        };
        let then = declared("[Service]\nExecStart=/bin/a\nTasksMax=5\nNice=1\n");
        let mut live = then.clone();
        live.limits.insert("MemoryMax".into(), "7".into());
        let now = declared("[Service]\nExecStart=/bin/b\nTasksMax=6\n");
        let edited = live.edited(&then, &now);
        let limits: Vec<_> = edited
            .limits
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(limits, [("MemoryMax", "7"), ("TasksMax", "6")]);
        assert_eq!(edited.service.unwrap().executables, ["/bin/b"]);
    }
}
