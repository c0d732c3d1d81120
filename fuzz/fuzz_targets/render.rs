//! Items of a host → unit files of the guest: what is written reads back as what was meant.
#![no_main]

use libfuzzer_sys::fuzz_target;
use safetytwin::render::{self, Rendered, unit_file};
use safetytwin_crds::item::{ContainerItem, ProcessItem, UnitItem};
use safetytwin_crds::section::decode_items;

fuzz_target!(|json: &[u8]| {
    for item in decode_items::<UnitItem>(json)
        .map(|(items, _)| items)
        .unwrap_or_default()
    {
        check(render::unit::render(&item, &|_: &str| false));
    }
    for item in decode_items::<ProcessItem>(json)
        .map(|(items, _)| items)
        .unwrap_or_default()
    {
        check(render::process::render(&item));
    }
    for item in decode_items::<ContainerItem>(json)
        .map(|(items, _)| items)
        .unwrap_or_default()
    {
        let engine = item.engine;
        check(render::container::render(&item, engine));
    }
});

fn check(rendered: Result<Rendered, render::Refusal>) {
    for file in rendered.map(|r| r.files).unwrap_or_default() {
        assert!(
            file.path.starts_with(render::UNIT_DIR) && !file.path.contains("/../"),
            "{}",
            file.path
        );
        let read = unit_file::read(&file.path, &file.content).expect("what was written");
        assert!(!file.content.contains(['\r', '\0']), "{}", file.content);
        drop(read);
    }
}
