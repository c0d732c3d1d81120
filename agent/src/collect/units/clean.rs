//! Takes secrets out of an item: its files were redacted when they were read, all else is here. Paths, names
//! and words of a unit may hold one too.

use std::collections::{BTreeMap, HashMap};

use safetytwin_crds::item::unit::{Mount, PathWatch, Service, Socket, Timer, UnitItem};

use crate::redact::Redactor;

/// Most texts of a kind that are remembered.
const MOST: usize = 16 * 1024;

/// Cleans items, each text once: at an audit all items are made again, of the same texts.
pub struct Cleaner {
    redactor: Redactor,
    names: HashMap<String, String>,
    texts: HashMap<String, String>,
}

impl Cleaner {
    /// Takes out what `redactor` does.
    pub fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            names: HashMap::new(),
            texts: HashMap::new(),
        }
    }

    /// The item as it may leave the host. An item that is clean stays as it is.
    pub fn item(&mut self, mut item: UnitItem) -> UnitItem {
        item.name = self.redactor.unit_name(&item.name);
        self.dependencies(&mut item.dependencies);
        let texts = item.limits.values_mut();
        let texts = texts.chain(item.service.iter_mut().flat_map(of_service));
        let texts = texts.chain(item.socket.iter_mut().flat_map(of_socket));
        let texts = texts.chain(item.path.iter_mut().flat_map(of_path));
        let texts = texts.chain(item.mount.iter_mut().flat_map(of_mount));
        let texts = texts.chain(item.timer.iter_mut().flat_map(of_timer));
        for text in texts {
            replace(&mut self.texts, text, |text| self.redactor.text(text).text);
        }
        let units = item.timer.iter_mut().map(|timer| &mut timer.unit);
        for unit in units.chain(item.path.iter_mut().map(|path| &mut path.unit)) {
            self.name(unit);
        }
        item
    }

    /// Names of other units, by dependency.
    pub fn dependencies(&mut self, dependencies: &mut BTreeMap<String, Vec<String>>) {
        for other in dependencies.values_mut().flatten() {
            self.name(other);
        }
    }

    /// The name of a unit.
    pub fn name(&mut self, name: &mut String) {
        replace(&mut self.names, name, |text| match text.parse() {
            Ok(unit) => self.redactor.unit_name(&unit).as_str().to_owned(),
            // What is no name is not in force, but it is told as it is written.
            Err(_) => self.redactor.text(text).text,
        });
    }
}

/// Puts what `clean` makes of a text in its place.
fn replace(known: &mut HashMap<String, String>, text: &mut String, clean: impl FnOnce(&str) -> String) {
    if let Some(cleaned) = known.get(text.as_str()) {
        text.clone_from(cleaned);
        return;
    }
    let cleaned = clean(text);
    if known.len() >= MOST {
        known.clear();
    }
    known.insert(std::mem::replace(text, cleaned.clone()), cleaned);
}

fn of_service(service: &mut Service) -> impl Iterator<Item = &mut String> {
    let accounts = service.user.iter_mut().chain(&mut service.group);
    let names = accounts.map(|account| &mut account.name);
    let lists = [
        &mut service.executables,
        &mut service.environment_names,
        &mut service.environment_files,
        &mut service.pass_environment,
    ];
    let texts = lists.into_iter().flatten().chain(&mut service.working_directory);
    names.chain(texts).chain(std::iter::once(&mut service.type_))
}

fn of_socket(socket: &mut Socket) -> impl Iterator<Item = &mut String> {
    socket.listen.iter_mut().map(|listen| &mut listen.address)
}

fn of_path(path: &mut PathWatch) -> impl Iterator<Item = &mut String> {
    path.paths.iter_mut().map(|watched| &mut watched.path)
}

fn of_timer(timer: &mut Timer) -> impl Iterator<Item = &mut String> {
    timer.on_calendar.iter_mut()
}

fn of_mount(mount: &mut Mount) -> impl Iterator<Item = &mut String> {
    [
        &mut mount.what,
        &mut mount.where_,
        &mut mount.type_,
        &mut mount.options,
    ]
    .into_iter()
}
