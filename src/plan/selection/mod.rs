//! Which items of a host go into its twin, with a reason for each that does not.
//!
//! Called by [`super::desired()`]. Pure and total: every item is either taken or excluded by name.

pub mod tables;

use safetytwin_crds::digitaltwin::{DigitalTwinSpec, Filter};
use safetytwin_crds::item::unit::Origin;
use safetytwin_crds::item::{ContainerItem, ProcessItem, Reason, UnitItem};
use safetytwin_crds::names::UnitType;

use crate::render::{Refusal, unit::is_masked};

/// Labels that kubelet gives to the containers of pods, with any engine.
const POD_LABELS: &[&str] = &[
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.uid",
    "io.kubernetes.container.name",
];
/// Prefix of the names that dockershim and cri-dockerd give to containers of pods.
const POD_NAME: &str = "k8s_";
/// Prefixes of the units that we make for processes and containers.
const OUR_UNITS: &[&str] = &["twin-process-", "twin-container-"];

/// Debian's unit of runsvdir: beside our units for its services it would run them a second time.
const RUNIT: &str = "runit.service";

/// Whether a unit goes into the twin.
pub fn unit(item: &UnitItem, spec: &DigitalTwinSpec) -> Result<(), Refusal> {
    check_type(item)?;
    let name = item.name.as_str();
    if OUR_UNITS.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Refusal::invalid(
            "names of this form are for units that a twin makes itself",
        ));
    }
    if name.starts_with("user@") || name.starts_with("user-runtime-dir@") {
        return Err(Refusal::new(
            Reason::UserManager,
            "service managers of users are not replicated yet",
        ));
    }
    if name == RUNIT {
        return Err(Refusal::new(
            Reason::Excluded,
            "the twin runs runit's services one by one, as runit-NAME.service",
        ));
    }
    check_origin(item)?;
    if let Some(what) = protected(name) {
        return Err(Refusal::new(
            Reason::Protected,
            format!("the twin keeps its own: {what}"),
        ));
    }
    if let Some(program) = protected_executable(item) {
        return Err(Refusal::new(
            Reason::Protected,
            format!("it runs {program}, which could lock the twin out"),
        ));
    }
    check_filter(spec.replicate.services.as_ref(), "services", &[name])
}

/// What a unit is protected as; `None` for units that may be copied.
pub fn protected(name: &str) -> Option<&'static str> {
    tables::PROTECTED
        .iter()
        .find(|family| {
            family
                .names
                .iter()
                .any(|pattern| safetytwin_crds::glob::matches(pattern, name))
        })
        .map(|family| family.what)
}

/// Whether a twin needs a unit of this name as its own: protected ones and the standard targets.
pub fn is_own(name: &str) -> bool {
    protected(name).is_some() || is_standard_target(name)
}

fn is_standard_target(name: &str) -> bool {
    name.ends_with(".target")
        && tables::STANDARD_TARGETS
            .iter()
            .any(|pattern| safetytwin_crds::glob::matches(pattern, name))
}

fn check_type(item: &UnitItem) -> Result<(), Refusal> {
    let kind = item.name.unit_type();
    let refuse = |message: String| Err(Refusal::new(Reason::UnsupportedType, message));
    match kind {
        UnitType::Service | UnitType::Socket | UnitType::Timer | UnitType::Path => {}
        UnitType::Target if is_standard_target(item.name.as_str()) => {
            return refuse("every machine has this target as its own".into());
        }
        UnitType::Target => {}
        UnitType::Device
        | UnitType::Mount
        | UnitType::Automount
        | UnitType::Swap
        | UnitType::Slice
        | UnitType::Scope => {
            return refuse(format!("units of type {} belong to the machine", kind.suffix()));
        }
    }
    if item.name.is_template() {
        return refuse("a template does not run itself; its instances carry it".into());
    }
    Ok(())
}

fn check_origin(item: &UnitItem) -> Result<(), Refusal> {
    let refuse = |message: &str| Err(Refusal::new(Reason::GeneratedOrTransient, message));
    match item.origin {
        Origin::Generated => return refuse("made by a generator"),
        Origin::Transient => return refuse("made at run time, gone after a boot"),
        Origin::NoFile if !is_masked(item) => return refuse("it has no unit file"),
        Origin::NoFile | Origin::Local | Origin::Package(_) | Origin::Vendor => {}
    }
    if item.enablement == "alias" {
        return refuse("another name of a unit that is listed itself");
    }
    if item.load_state == "not-found" {
        return refuse("it is only referred to, its file does not exist");
    }
    Ok(())
}

fn protected_executable(item: &UnitItem) -> Option<&'static str> {
    let executables = &item.service.as_ref()?.executables;
    executables.iter().find_map(|path| {
        let program = path.rsplit('/').next()?;
        tables::PROTECTED_EXECUTABLES
            .iter()
            .find(|p| **p == program)
            .copied()
    })
}

/// Whether a container goes into the twin.
pub fn container(item: &ContainerItem, spec: &DigitalTwinSpec) -> Result<(), Refusal> {
    let pod = item.name.as_str().starts_with(POD_NAME)
        || item
            .labels
            .keys()
            .any(|label| POD_LABELS.contains(&label.as_str()));
    if pod {
        return Err(Refusal::new(
            Reason::ManagedByKubernetes,
            "a container of a pod: the cluster runs it, not this host",
        ));
    }
    let filter = spec.replicate.containers.as_ref();
    check_filter(filter, "containers", &[item.name.as_str(), &item.id().name])
}

/// Whether a process goes into the twin. It is matched by its executable, that file's name, and comm.
pub fn process(item: &ProcessItem, spec: &DigitalTwinSpec) -> Result<(), Refusal> {
    let comm = item.comm.lossy();
    let executable = item.executable.as_ref().map(|e| e.lossy()).unwrap_or_default();
    let program = executable.rsplit('/').next().unwrap_or_default();
    for name in [comm.as_str(), program] {
        if let Some(known) = tables::PROTECTED_EXECUTABLES.iter().find(|p| **p == name) {
            return Err(Refusal::new(
                Reason::Protected,
                format!("{known} could lock the twin out"),
            ));
        }
        if ["containerd-shim", "conmon", "kube-proxy"]
            .iter()
            .any(|p| name.starts_with(p))
        {
            return Err(Refusal::new(
                Reason::ManagedByKubernetes,
                "it belongs to a container runtime",
            ));
        }
    }
    check_filter(
        spec.replicate.processes.as_ref(),
        "processes",
        &[&comm, &executable, program],
    )
}

fn check_filter(filter: Option<&Filter>, member: &str, names: &[&str]) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        Err(Refusal::new(
            Reason::Excluded,
            format!("spec.replicate.{member}{why}"),
        ))
    };
    let Some(filter) = filter else {
        return refuse(" is not set");
    };
    if safetytwin_crds::glob::any(&filter.exclude, names.iter().copied()) {
        return refuse(".exclude names it");
    }
    if !filter.include.is_empty() && !safetytwin_crds::glob::any(&filter.include, names.iter().copied()) {
        return refuse(".include does not name it");
    }
    Ok(())
}
