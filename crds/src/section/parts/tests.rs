//! Items that come, go and grow, and such as no object takes.

use super::super::decode_items;
use super::*;

/// Text that hardly compresses.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'#' + (state >> 33) as u8 % 90)
    };
    (0..length).map(next).filter(|c| *c != '\\').collect()
}

#[test]
fn a_part_of_many_items_is_never_longer_than_an_object_takes() {
    assert!(zstd::zstd_safe::compress_bound(PART_BYTES).div_ceil(3) * 4 <= MAX_DATA);
}

#[test]
fn an_item_that_no_object_takes_is_left_out_by_its_name_and_the_rest_is_written() {
    let item = |name: &str, text: String| serde_json::json!({"name": name, "text": text});
    let items = [
        item("a", "x".repeat(150_000)),
        item("b", noise(1, 400_000)),
        item("c", "x".repeat(1_000_000)),
        item("d", "x".repeat(MAX_DECODED as usize)),
        item("e", noise(2, 150_000)),
    ];
    let Fitted { parts, left_out } = fit_parts(&items).unwrap();
    let read: Vec<serde_json::Value> = parts
        .iter()
        .flat_map(|p| decode_items(&p.json().unwrap()).unwrap().0)
        .collect();
    assert_eq!(read, [items[0].clone(), items[2].clone(), items[4].clone()]);
    assert!(
        parts
            .iter()
            .all(|p| p.data(Encoding::ZstdBase64).unwrap().len() <= MAX_DATA)
    );
    let messages = left_out.messages();
    assert_eq!((messages.len(), left_out.kept()), (2, 3), "{messages:?}");
    assert!(messages[0].starts_with("item b: "), "{messages:?}");
    assert!(
        messages[0].ends_with(" bytes compressed exceed 262144"),
        "{messages:?}"
    );
    assert!(messages[1].starts_with("item d: 4194"), "{messages:?}");
    assert!(messages[1].ends_with(" bytes exceed 4194304"), "{messages:?}");
}

#[test]
fn what_needs_more_than_sixteen_parts_is_cut_at_its_end() {
    let items: Vec<String> = (0..40).map(|n| format!("{n:0>60000}").repeat(2)).collect();
    let large: Vec<String> = (0..40).map(|n| format!("{n:0>60000}").repeat(5)).collect();
    for items in [items, large] {
        let Fitted { parts, left_out } = fit_parts(&items).unwrap();
        assert_eq!((parts.len(), left_out.kept()), (16, 16));
        let last: Vec<String> = decode_items(&parts[15].json().unwrap()).unwrap().0;
        assert_eq!(last, items[15..16]);
        let message = "24 of 40 items are left out: more than 16 parts of 190 KiB";
        assert_eq!(left_out.messages(), [message]);
    }
}

/// Five hundred units, each with a little text.
fn units() -> Vec<Vec<u8>> {
    let unit = |n: u64| serde_json::json!({"name": format!("u{n:03}"), "text": noise(n, 600)}).to_string();
    (0..500).map(|n| unit(n).into_bytes()).collect()
}

fn parts_of(items: &[Vec<u8>]) -> Vec<Part> {
    let total = items.iter().map(|item| item.len() + 1).sum();
    let mut writer = PartWriter::after(Arc::default(), Cut::of(total, None));
    for item in items {
        writer.push(item).unwrap().unwrap();
    }
    writer.finish().unwrap().parts
}

#[test]
fn an_item_that_comes_goes_or_grows_changes_two_parts_at_most() {
    let before = units();
    let parts = parts_of(&before);
    assert!((4..=MAX_PARTS).contains(&parts.len()), "{} parts", parts.len());
    for place in (0..500).step_by(7) {
        let (mut without, mut with, mut other) = (before.clone(), before.clone(), before.clone());
        without.remove(place);
        with.insert(place, format!("\"new {place}\"").into_bytes());
        other[place] = format!("{{\"name\":\"u{place:03}\",\"text\":\"{}\"}}", "x".repeat(900)).into_bytes();
        for after in [without, with, other] {
            let after = parts_of(&after);
            let new = after.iter().filter(|part| !parts.contains(part));
            assert!(new.count() <= 2, "item {place}");
        }
    }
}

#[test]
fn a_section_about_as_long_as_parts_of_one_length_hold_keeps_the_length_that_it_has() {
    const HELD: usize = 512 * 1024;
    let mut cut = Cut::of(HELD, None);
    assert_eq!(cut, Cut(Some(64 * 1024)));
    let mut lengths = Vec::new();
    for total in [HELD + 1, HELD, HELD - 20_000, HELD + 9, HELD / 10 * 9, HELD] {
        cut = Cut::of(total, Some(cut));
        lengths.push(cut.0.unwrap_or(0) / 1024);
    }
    assert_eq!(lengths, [128, 128, 128, 128, 64, 64]);
}

#[test]
fn small_sections_have_one_part_and_large_ones_as_long_parts_as_an_object_takes() {
    let all = units();
    assert_eq!(parts_of(&all[..40]).len(), 1);
    let many: Vec<Vec<u8>> = (0..4).flat_map(|_| all.clone()).collect();
    let parts = parts_of(&many);
    let full = parts.iter().rev().skip(1);
    assert!(
        full.clone().all(|part| part.bytes > PART_BYTES - 2000),
        "{}",
        parts.len()
    );
}

#[test]
fn an_item_is_where_the_writer_said_it_would_be() {
    let items = ["a".into(), "b".repeat(PART_BYTES), "c".into(), "d".into()];
    let items = items.map(|text: String| serde_json::to_vec(&text).unwrap());
    let mut writer = PartWriter::default();
    let places: Vec<PlaceInParts> = items.iter().map(|i| writer.push(i).unwrap().unwrap()).collect();
    let parts = writer.finish().unwrap().parts;
    assert_eq!(parts.len(), 3);
    for ((part, at), item) in places.into_iter().zip(&items) {
        assert_eq!(&parts[part].json().unwrap()[at], item);
    }
}

#[test]
fn parts_that_are_known_are_taken_as_they_are_with_the_number_of_their_items() {
    let item = |text: &str| format!("\"{text}\"").into_bytes();
    let mut first = PartWriter::default();
    for text in ["a", "b"] {
        first.push(&item(text)).unwrap();
    }
    let known = first.finish().unwrap().parts;
    let mut writer = PartWriter::default();
    writer.push(&item("before")).unwrap();
    assert!(writer.append(&known, 2).unwrap());
    assert_eq!(writer.end_part().unwrap(), 2);
    let place = writer.push(&item("after")).unwrap().unwrap();
    assert_eq!(place.0, 2, "it begins a part of its own");
    let Fitted { parts, left_out } = writer.finish().unwrap();
    let texts: Vec<Vec<u8>> = parts.iter().map(|part| part.json().unwrap()).collect();
    assert_eq!(
        texts,
        [
            b"[\"before\"]".to_vec(),
            b"[\"a\",\"b\"]".to_vec(),
            b"[\"after\"]".to_vec()
        ]
    );
    assert_eq!((left_out.kept(), parts[1].clone()), (4, known[0].clone()));
}

#[test]
fn parts_for_which_there_is_no_room_are_not_taken_in_part() {
    let mut one = PartWriter::default();
    one.push(b"1").unwrap();
    let part = one.finish().unwrap().parts.remove(0);
    let mut writer = PartWriter::default();
    assert!(
        writer
            .append(&vec![part.clone(); MAX_PARTS - 1], MAX_PARTS - 1)
            .unwrap()
    );
    assert!(!writer.append(&[part.clone(), part.clone()], 2).unwrap());
    assert!(writer.append(&[part], 1).unwrap());
    assert_eq!(writer.push(b"2").unwrap(), None);
    let Fitted { parts, left_out } = writer.finish().unwrap();
    assert_eq!((parts.len(), left_out.kept()), (MAX_PARTS, MAX_PARTS));
    let mut bounded = PartWriter::within(1);
    assert!(!bounded.append(&parts, MAX_PARTS).unwrap());
}
