//! Trees of pages that SQLite would not make.

use std::io::Cursor;
use std::ops::ControlFlow;

use super::pages::Pages;
use super::record::{Type, column};
use super::tree::rows;
use super::*;

const SIZE: usize = 512;

/// A database of pages with the given content from their type on.
fn database(pages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, page) in pages.iter().enumerate() {
        let mut whole = Vec::new();
        if n == 0 {
            whole.extend_from_slice(b"SQLite format 3\0");
            whole.extend_from_slice(&[2, 0, 2, 2]);
            whole.resize(100, 0);
            whole[59] = 1;
        }
        whole.extend_from_slice(page);
        whole.resize(SIZE, 0);
        bytes.extend(whole);
    }
    bytes
}

/// An interior page of no cells and one child.
fn above(child: u32) -> Vec<u8> {
    let mut page = vec![0x05, 0, 0, 0, 0, 0, 0, 0];
    page.extend_from_slice(&child.to_be_bytes());
    page
}

/// A leaf of one row, whose cell is at `at` in its page.
fn leaf(at: usize, cell: &[u8]) -> Vec<u8> {
    let mut page = vec![0x0d, 0, 0, 0, 1, 0, 0, 0];
    page.extend_from_slice(&u16::try_from(at).unwrap().to_be_bytes());
    page.resize(at, 0);
    page.extend_from_slice(cell);
    page
}

/// The rows of the tree whose root is page 2, each as it is up to `end` bytes.
fn read(pages: &[Vec<u8>], end: usize) -> Result<Vec<Vec<u8>>, Fault> {
    let bytes = database(pages);
    let mut pages = Pages::open(Cursor::new(bytes.as_slice()), None)?;
    let mut all = Vec::new();
    rows(&mut pages, 2, |row| {
        all.push(row.upto(end)?.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(all)
}

#[test]
fn variable_length_integers_have_one_to_nine_bytes() {
    assert_eq!(varint(&[0x7f], 0), Some((127, 1)));
    assert_eq!(varint(&[9, 0x81, 0x00], 1), Some((128, 3)));
    assert_eq!(varint(&[0xff; 9], 0), Some((u64::MAX, 9)));
    assert_eq!(varint(&[0xff; 8], 0), None);
    assert_eq!(varint(&[0x80; 20], 0), Some((128, 9)));
    assert_eq!(varint(&[1], 1), None);
}

#[test]
fn a_tree_of_more_levels_than_sqlite_makes_is_refused() {
    let chain = |levels: u32| {
        let mut pages = vec![leaf(200, &[0])];
        pages.extend((1..levels).map(|n| above(n + 2)));
        pages.push(leaf(100, &[3, 1, b'a', b'b', b'c']));
        pages
    };
    assert_eq!(read(&chain(20), 9).unwrap(), [b"abc"]);
    assert!(matches!(read(&chain(21), 9), Err(Fault::Deep(20))));
}

#[test]
fn a_row_goes_on_in_overflow_pages_as_far_as_it_is_wanted() {
    // Of 1000 bytes 492 would leave one overflow page full. A leaf of 512 bytes takes 477 at most, so it
    // has the least, 39, and two pages have the rest.
    let mut cell = vec![0x87, 0x68, 1];
    cell.extend(vec![b'a'; 39]);
    cell.extend_from_slice(&3u32.to_be_bytes());
    let overflow = |next: u32, byte: u8| {
        let mut page = next.to_be_bytes().to_vec();
        page.resize(SIZE, byte);
        page
    };
    let first = vec![leaf(200, &[0]), leaf(100, &cell)];
    let tree = |next: u32| [first.clone(), vec![overflow(next, b'b'), overflow(0, b'c')]].concat();
    let whole = [vec![b'a'; 39], vec![b'b'; 508], vec![b'c'; 453]].concat();
    assert_eq!(read(&tree(4), 5000).unwrap(), [whole.as_slice()]);
    assert_eq!(
        read(&tree(3), 540).unwrap(),
        [&whole[..540]],
        "the second is not wanted"
    );
    assert!(matches!(read(&tree(3), 600), Err(Fault::Twice(3))));
    assert!(matches!(read(&tree(9), 600), Err(Fault::Missing(9))));
    assert!(matches!(read(&tree(0), 600), Err(Fault::Page(2))));
}

#[test]
fn pages_that_are_of_no_table_or_point_outside_are_damage() {
    for page in [
        vec![0x02, 0, 0, 0, 0, 0, 0, 0],
        vec![0],
        vec![0x0d, 0, 0, 0xff, 0xff, 0, 0, 0],
        leaf(511, &[0x81]),
        vec![0x0d, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff],
    ] {
        assert!(matches!(read(&[leaf(200, &[0]), page], 9), Err(Fault::Page(2))));
    }
    assert!(matches!(
        read(&[leaf(200, &[0]), above(0)], 9),
        Err(Fault::Missing(0))
    ));
    assert!(matches!(
        read(&[leaf(200, &[0]), above(u32::MAX)], 9),
        Err(Fault::Missing(u32::MAX))
    ));
    assert!(matches!(read(&[leaf(200, &[0])], 9), Err(Fault::Missing(2))));
}

#[test]
fn columns_are_found_by_the_serial_types_before_them() {
    let find = |record: &[u8], index| {
        let mut cell = vec![u8::try_from(record.len()).unwrap(), 1];
        cell.extend_from_slice(record);
        let bytes = database(&[leaf(200, &[0]), leaf(100, &cell)]);
        let mut pages = Pages::open(Cursor::new(bytes.as_slice()), None).unwrap();
        let mut found = None;
        rows(&mut pages, 2, |row| {
            found = column(row, index)?;
            Ok(ControlFlow::Break(()))
        })
        .unwrap();
        found.map(|column| (column.kind, column.at, column.length))
    };
    // NULL, a blob of two bytes, a number of six, text of one byte, the number 1.
    let record = [6, 0, 16, 5, 15, 9, 1, 2, 0, 0, 0, 0, 0, 7, b'x'];
    assert_eq!(find(&record, 0), Some((Type::Null, 6, 0)));
    assert_eq!(find(&record, 1), Some((Type::Blob, 6, 2)));
    assert_eq!(find(&record, 2), Some((Type::Integer, 8, 6)));
    assert_eq!(find(&record, 3), Some((Type::Text, 14, 1)));
    assert_eq!(find(&record, 4), Some((Type::Integer, 15, 0)));
    assert_eq!(find(&record, 5), None);
    // A reserved type, a blob that is longer than its row, a header that is.
    for record in [&[3, 10, 16, 1, 2][..], &[3, 0, 18, 1, 2], &[9, 0, 16, 1, 2]] {
        assert_eq!(find(record, 1), None, "{record:?}");
    }
    let huge = [11, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(find(&huge, 1), None);
}
