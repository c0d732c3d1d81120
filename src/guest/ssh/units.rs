//! Units of the guest: what they are, and changes of their files' state. Pipelined; nothing is loaded by asking.

use futures::future::{join_all, try_join_all};
use safetytwin_crds::names::{UnitName, UnitType, printable};
use zbus::{OwnedObjectPath, OwnedVariant};

use super::bus::{Bus, is_no_such_file, is_no_such_unit};
use crate::facts::{Active, JobOutcome, Load, UnitFacts};
use crate::guest::GuestError;

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The facts of units, in the order of `names`. Loads nothing: an unloaded unit is asked for its file state only.
pub(super) async fn facts(bus: &Bus, names: &[UnitName]) -> Result<Vec<UnitFacts>, GuestError> {
    try_join_all(names.iter().map(|name| fact(bus, name))).await
}

async fn fact(bus: &Bus, name: &UnitName) -> Result<UnitFacts, GuestError> {
    // The path follows from the name; the guest's is not used. Asking a property of a unit that is
    // not in memory would load it, hence the question before.
    let known: Result<OwnedObjectPath, GuestError> = bus.manage("GetUnit", &(name.as_str(),)).await;
    match known {
        Err(error) if is_no_such_unit(&error) => return unloaded(bus, name).await,
        known => known.map(drop)?,
    }
    let path = object_path(name);
    let path = path.as_str();
    let of_unit = futures::future::try_join5(
        text(bus, path, UNIT, "LoadState"),
        text(bus, path, UNIT, "ActiveState"),
        text(bus, path, UNIT, "SubState"),
        file_state(bus, name),
        property::<Vec<u8>>(bus, path, UNIT, "InvocationID"),
    );
    let of_service = async {
        if name.unit_type() != UnitType::Service {
            return Ok((0, String::new(), 0));
        }
        futures::try_join!(
            property::<u32>(bus, path, SERVICE, "MainPID"),
            text(bus, path, SERVICE, "Result"),
            property::<i32>(bus, path, SERVICE, "ExecMainStatus")
        )
    };
    let ((load_state, active_state, sub, file_state, invocation), (main_pid, result, exit_status)) =
        futures::try_join!(of_unit, of_service)?;
    Ok(UnitFacts {
        name: name.clone(),
        load: load(&load_state),
        active: active(&active_state),
        sub,
        file_state,
        invocation: invocation
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        main_pid,
        result,
        exit_status,
    })
}

/// The object of a unit: its name, every byte but letters and digits (and a digit in front) as `_xx`
/// (sd_bus_path_encode(3)).
fn object_path(name: &UnitName) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (at, byte) in name.as_str().bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// One property. All properties of a service are 15 KiB, and some cost the guest a look at its cgroup.
async fn property<T>(bus: &Bus, path: &str, interface: &str, name: &str) -> Result<T, GuestError>
where
    T: TryFrom<OwnedVariant>,
{
    let value: OwnedVariant = bus.call(path, PROPERTIES, "Get", &(interface, name)).await?;
    T::try_from(value).map_err(|_| GuestError::Failed {
        call: "read a unit",
        message: format!("{name} has another type"),
    })
}

async fn text(bus: &Bus, path: &str, interface: &str, name: &str) -> Result<String, GuestError> {
    let value: String = property(bus, path, interface, name).await?;
    Ok(printable(&value, 200))
}

/// `UnitFileState`, from the files: the property of a loaded unit may be from before an enablement.
async fn file_state(bus: &Bus, name: &UnitName) -> Result<String, GuestError> {
    match bus
        .manage::<String, _>("GetUnitFileState", &(name.as_str(),))
        .await
    {
        Ok(state) => Ok(printable(&state, 64)),
        Err(GuestError::Failed { .. }) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// A unit that is not in memory. Its file state is read from the unit files, which loads nothing.
async fn unloaded(bus: &Bus, name: &UnitName) -> Result<UnitFacts, GuestError> {
    Ok(UnitFacts {
        name: name.clone(),
        load: Load::NotLoaded,
        active: Active::Inactive,
        sub: "dead".into(),
        file_state: file_state(bus, name).await?,
        invocation: String::new(),
        main_pid: 0,
        result: String::new(),
        exit_status: 0,
    })
}

type Links = Vec<(String, String, String)>;

/// Enables, disables, masks or unmasks each unit by itself, so that one refusal is one unit's.
pub(super) async fn change_files(
    bus: &Bus,
    change: FileChange,
    units: &[UnitName],
) -> Result<Vec<JobOutcome>, GuestError> {
    let answers = join_all(units.iter().map(|unit| change_file(bus, change, unit))).await;
    units
        .iter()
        .zip(answers)
        .map(|(unit, answer)| match answer {
            Ok(()) => Ok(JobOutcome {
                unit: unit.clone(),
                failure: None,
            }),
            Err(GuestError::Failed { message, .. }) => Ok(JobOutcome {
                unit: unit.clone(),
                failure: Some(message),
            }),
            Err(error) => Err(error),
        })
        .collect()
}

/// A change of unit files that needs no reload.
#[derive(Clone, Copy)]
pub(super) enum FileChange {
    Enable,
    Disable,
    Mask,
    Unmask,
}

async fn change_file(bus: &Bus, change: FileChange, unit: &UnitName) -> Result<(), GuestError> {
    let files = vec![unit.as_str()];
    match change {
        FileChange::Enable => {
            let _: (bool, Links) = bus.manage("EnableUnitFiles", &(files, false, true)).await?;
        }
        FileChange::Disable => {
            let gone: Result<Links, GuestError> = bus.manage("DisableUnitFiles", &(files, false)).await;
            match gone {
                // A unit without a file is not enabled.
                Err(error) if is_no_such_file(&error) => {}
                gone => gone.map(drop)?,
            }
        }
        FileChange::Mask => {
            let _: Links = bus.manage("MaskUnitFiles", &(files, false, true)).await?;
        }
        FileChange::Unmask => {
            let _: Links = bus.manage("UnmaskUnitFiles", &(files, false)).await?;
        }
    }
    Ok(())
}

/// Clears the failed state of units; those that are not loaded have none.
pub(super) async fn reset_failed(bus: &Bus, units: &[UnitName]) -> Result<(), GuestError> {
    let answers = join_all(units.iter().map(|unit| async move {
        let answer: Result<(), GuestError> = bus.manage("ResetFailedUnit", &(unit.as_str(),)).await;
        answer
    }))
    .await;
    for answer in answers {
        match answer {
            Ok(()) | Err(GuestError::Failed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

type LoadedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// Names of all unit files and loaded units.
pub(super) async fn names(bus: &Bus) -> Result<Vec<String>, GuestError> {
    let files: Vec<(String, String)> = bus.manage("ListUnitFiles", &()).await?;
    let loaded: Vec<LoadedUnit> = bus.manage("ListUnits", &()).await?;
    let files = files
        .iter()
        .filter_map(|(path, _)| path.rsplit('/').next())
        .map(str::to_owned);
    let mut names: Vec<String> = files.chain(loaded.into_iter().map(|unit| unit.0)).collect();
    names.retain(|name| name.parse::<UnitName>().is_ok());
    names.sort();
    names.dedup();
    Ok(names)
}

fn load(state: &str) -> Load {
    match state {
        "loaded" => Load::Loaded,
        "not-found" => Load::NotFound,
        "masked" => Load::Masked,
        "stub" | "merged" => Load::NotLoaded,
        _ => Load::Error,
    }
}

fn active(state: &str) -> Active {
    match state {
        "active" => Active::Active,
        "reloading" | "refreshing" => Active::Reloading,
        "failed" => Active::Failed,
        "activating" => Active::Activating,
        "deactivating" => Active::Deactivating,
        _ => Active::Inactive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_of_a_unit_follows_from_its_name() {
        let name: UnitName = "7zip-a@b.service".parse().unwrap();
        assert_eq!(
            object_path(&name),
            "/org/freedesktop/systemd1/unit/_37zip_2da_40b_2eservice"
        );
    }
}
