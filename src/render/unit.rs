//! Units of the host: local unit files whole, vendor ones by their `/etc` drop-ins only.
//!
//! A drop-in directory of the twin has one file of ours, with all local drop-ins of the host in
//! systemd's order: what they mean together does not depend on their names.

use safetytwin_crds::item::unit::{Account, Origin, Service, UnitFile, UnitItem};
use safetytwin_crds::item::{Reason, RunClass};
use safetytwin_crds::names::{DROP_IN_NAME, UnitName, UnitType};
use safetytwin_crds::revision::{DesiredFile, Needs};

use super::policy::{self, IsProtected};
use super::unit_file::{self, UnitText};
use super::{Refusal, Rendered, UNIT_DIR};

/// Renders a unit. `protected` says which units the twin needs as its own.
pub fn render(item: &UnitItem, protected: IsProtected<'_>) -> Result<Rendered, Refusal> {
    let mut rendered = Rendered::default();
    if is_masked(item) {
        return Ok(rendered);
    }
    let local = item.origin == Origin::Local;
    if local {
        let fragment = item
            .fragment
            .as_ref()
            .ok_or_else(|| Refusal::invalid("the host names no file of this local unit"))?;
        let text = read(fragment, protected, &mut rendered)?
            .ok_or_else(|| Refusal::invalid("the host sent no text of this local unit"))?;
        if text.is_empty() {
            return Err(Refusal::invalid("its unit file says nothing"));
        }
        rendered.installable = installs(&text);
        rendered.files.push(DesiredFile {
            path: format!("{UNIT_DIR}/{}", file_name(&item.name, fragment)),
            content: text.write(),
        });
    } else {
        let file = item
            .fragment
            .as_ref()
            .map_or_else(|| item.name.as_str().to_owned(), |f| file_name(&item.name, f));
        rendered.needs.vendor_unit = Some(file);
        // Whether the vendor's file has [Install] is the host's word: it enabled or disabled it.
        rendered.installable = true;
    }
    if let Some(content) = drop_in(item, protected, &mut rendered)? {
        rendered.files.push(DesiredFile {
            path: format!("{UNIT_DIR}/{}.d/{DROP_IN_NAME}", item.name),
            content,
        });
    }
    if runs(item.run) {
        add_needs(&mut rendered.needs, item, local)?;
    }
    Ok(rendered)
}

/// The host has it masked.
pub fn is_masked(item: &UnitItem) -> bool {
    item.load_state == "masked" || matches!(item.enablement.as_str(), "masked" | "masked-runtime")
}

/// A unit that never runs needs nothing to run.
fn runs(run: RunClass) -> bool {
    run != RunClass::Down
}

/// The name of the file: the template's for an instance that is made from one.
fn file_name(name: &UnitName, fragment: &UnitFile) -> String {
    let base = fragment.path.rsplit('/').next().unwrap_or_default();
    match name.template() {
        Some(template) if template == base => template,
        _ => name.as_str().to_owned(),
    }
}

fn read(
    file: &UnitFile,
    protected: IsProtected<'_>,
    rendered: &mut Rendered,
) -> Result<Option<UnitText>, Refusal> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if let Some(why) = &file.refused {
        let reason = if why.contains("large") {
            Reason::TooLarge
        } else {
            Reason::InvalidItem
        };
        return Err(Refusal::new(reason, format!("{name}: {why}")));
    }
    let Some(content) = &file.content else {
        return Ok(None);
    };
    let mut text = unit_file::read(name, content)?;
    if file.redactions > 0 {
        let detail = format!("{} redacted in {name}", values(file.redactions));
        rendered.substitute(Reason::Redacted, detail);
    }
    for left_out in policy::apply(&mut text, protected)? {
        rendered.substitute(Reason::NotPermitted, left_out);
    }
    Ok(Some(text))
}

/// `1 value` or `n values`.
pub(super) fn values(number: u32) -> String {
    match number {
        1 => "1 value".to_owned(),
        n => format!("{n} values"),
    }
}

/// All local drop-ins as one text.
fn drop_in(
    item: &UnitItem,
    protected: IsProtected<'_>,
    rendered: &mut Rendered,
) -> Result<Option<String>, Refusal> {
    let mut all = UnitText::default();
    for file in &item.drop_ins {
        if let Some(text) = read(file, protected, rendered)? {
            all.append(text);
        }
    }
    Ok((!all.is_empty()).then(|| all.write()))
}

fn installs(text: &UnitText) -> bool {
    ["WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also"]
        .iter()
        .any(|key| text.values("Install", key).any(|value| !value.is_empty()))
}

fn add_needs(needs: &mut Needs, item: &UnitItem, local: bool) -> Result<(), Refusal> {
    let Some(service) = item
        .service
        .as_ref()
        .filter(|_| item.name.unit_type() == UnitType::Service)
    else {
        return Ok(());
    };
    needs.user = account(service, service.user.as_ref())?;
    needs.group = account(service, service.group.as_ref())?;
    if local {
        needs.executables = service
            .executables
            .iter()
            .filter(|e| e.starts_with('/'))
            .cloned()
            .collect();
        needs.directory = service
            .working_directory
            .clone()
            .filter(|d| d.starts_with('/') && d != "/");
    }
    Ok(())
}

/// An account to have in the guest; root is there, and systemd makes dynamic ones.
fn account(service: &Service, account: Option<&Account>) -> Result<Option<Account>, Refusal> {
    match account {
        Some(a) if service.dynamic_user || a.name == "root" || a.name.is_empty() => Ok(None),
        Some(a) if !is_account_name(&a.name) => {
            Err(Refusal::invalid(format!("{:?} is no account name", a.name)))
        }
        other => Ok(other.cloned()),
    }
}

/// A name that useradd and systemd take (systemd.io/USER_NAMES, relaxed to what hosts have), or a
/// number.
pub fn is_account_name(name: &str) -> bool {
    let body = name.strip_suffix('$').unwrap_or(name);
    (1..=31).contains(&name.len())
        && body
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::digest::Digest;

    use super::*;

    fn file(path: &str, content: &str) -> UnitFile {
        UnitFile {
            path: path.into(),
            digest: Digest::of(content.as_bytes()),
            content: Some(content.into()),
            redactions: 0,
            refused: None,
        }
    }

    fn item(name: &str, origin: Origin) -> UnitItem {
        UnitItem {
            name: name.parse().unwrap(),
            load_state: "loaded".into(),
            run: RunClass::Up,
            enablement: "enabled".into(),
            origin,
            fragment: Some(file(
                "/etc/systemd/system/web@.service",
                "[Service]\nExecStart=/bin/web %i\n",
            )),
            drop_ins: vec![
                file("/etc/systemd/system/service.d/a.conf", "[Service]\nNice=1\n"),
                file(
                    "/etc/systemd/system/web@a.service.d/b.conf",
                    "[Service]\nNice=2\n",
                ),
            ],
            dependencies: Default::default(),
            limits: Default::default(),
            preset: String::new(),
            timer: None,
            socket: None,
            path: None,
            mount: None,
            service: Some(Service {
                executables: vec!["/bin/web".into()],
                ..Service::default()
            }),
        }
    }

    #[test]
    fn an_instance_carries_its_template_and_one_drop_in_in_systemds_order() {
        let rendered = render(&item("web@a.service", Origin::Local), &|_| false).unwrap();
        let files: Vec<(&str, &str)> = rendered
            .files
            .iter()
            .map(|f| (f.path.as_str(), f.content.as_str()))
            .collect();
        assert_eq!(
            files,
            [
                (
                    "/etc/systemd/system/web@.service",
                    "[Service]\nExecStart=/bin/web %i\n"
                ),
                (
                    "/etc/systemd/system/web@a.service.d/50-safetytwin.conf",
                    "[Service]\nNice=1\n\n[Service]\nNice=2\n"
                ),
            ]
        );
        assert_eq!(rendered.needs.executables, ["/bin/web"]);
        assert!(!rendered.installable);
    }

    #[test]
    fn a_vendor_unit_is_never_copied_only_its_local_drop_ins() {
        let rendered = render(&item("web@a.service", Origin::Package("web".into())), &|_| false).unwrap();
        assert_eq!(rendered.files.len(), 1);
        assert_eq!(rendered.needs.vendor_unit.as_deref(), Some("web@.service"));
        assert_eq!(rendered.needs.executables, Vec::<String>::new());
    }

    #[test]
    fn the_path_of_a_host_never_names_a_file_of_the_twin() {
        let mut unit = item("web.service", Origin::Local);
        unit.fragment = Some(file("/opt/../etc/cron.d/evil", "[Service]\nExecStart=/bin/web\n"));
        let rendered = render(&unit, &|_| false).unwrap();
        assert_eq!(rendered.files[0].path, "/etc/systemd/system/web.service");
    }

    #[test]
    fn a_unit_file_that_could_not_be_read_whole_is_refused() {
        let mut unit = item("web.service", Origin::Local);
        unit.drop_ins[1].refused = Some("too large".into());
        assert_eq!(render(&unit, &|_| false).unwrap_err().reason, Reason::TooLarge);
        unit.drop_ins.clear();
        unit.fragment.as_mut().unwrap().content = None;
        assert_eq!(render(&unit, &|_| false).unwrap_err().reason, Reason::InvalidItem);
    }

    #[test]
    fn redacted_values_and_left_out_lines_make_a_unit_substituted() {
        let mut unit = item("web.service", Origin::Local);
        let fragment = unit.fragment.as_mut().unwrap();
        fragment.redactions = 2;
        fragment.content = Some("[Service]\nExecStart=/bin/web\nRootImage=/x\n".into());
        let rendered = render(&unit, &|_| false).unwrap();
        assert_eq!(rendered.substituted, Some(Reason::Redacted));
        assert!(rendered.detail().contains("2 values redacted") && rendered.detail().contains("RootImage"));
    }

    #[test]
    fn account_names_that_could_be_options_or_paths_are_refused() {
        for name in ["", "-x", "a/b", "a b", "a\n", "a:b", &"a".repeat(32)] {
            assert!(!is_account_name(name), "{name:?}");
        }
        for name in ["www-data", "_apt", "machine$", "1000", "a.b"] {
            assert!(is_account_name(name), "{name:?}");
        }
    }
}
