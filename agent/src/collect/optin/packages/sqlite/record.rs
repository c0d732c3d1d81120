//! Records: the columns of a row, and where the schema says that a table begins.

use std::io::{Read, Seek};
use std::ops::ControlFlow;

use super::pages::Pages;
use super::tree::{Payload, rows};
use super::{Fault, varint};

/// Longest record header that is read, in bytes: all columns of the schema at nine bytes each.
const LONGEST_HEADER: usize = 64;
/// Most rows of the schema that are read; an rpm database has some 60.
const MOST_TABLES: usize = 10_000;
/// Longest text of the schema that is compared; names are far shorter.
const LONGEST_NAME: usize = 256;
/// The page that the schema begins with.
const SCHEMA: u32 = 1;

/// What type a column's value has, by its serial type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// NULL.
    Null,
    /// A number of so many bytes; the numbers 0 and 1 have none.
    Integer,
    /// A floating-point number.
    Float,
    /// Bytes.
    Blob,
    /// Text.
    Text,
}

/// Where the value of a column is in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its type.
    pub kind: Type,
    /// The offset in the record.
    pub at: usize,
    /// Bytes.
    pub length: usize,
    /// The serial type; tells the numbers 0 and 1.
    serial: u64,
}

/// A column of a record; none when the record has no such column or is not of its form.
///
/// # Errors
/// The record cannot be read.
pub fn column<F: Read + Seek>(row: &mut Payload<'_, F>, index: usize) -> Result<Option<Column>, Fault> {
    let whole = row.length();
    let header = row.upto(LONGEST_HEADER)?;
    Ok(find(header, whole, index))
}

fn find(header: &[u8], whole: usize, index: usize) -> Option<Column> {
    let (end, mut next) = varint(header, 0)?;
    let end = usize::try_from(end).ok()?;
    let types = header.get(..end)?;
    let mut at = end;
    for n in 0..=index {
        let (serial, after) = varint(types, next)?;
        next = after;
        let (kind, length) = value(serial)?;
        if n == index {
            let inside = at.checked_add(length)? <= whole;
            return inside.then_some(Column {
                kind,
                at,
                length,
                serial,
            });
        }
        at = at.checked_add(length)?;
    }
    None
}

/// Type and bytes of a value, by its serial type.
fn value(serial: u64) -> Option<(Type, usize)> {
    let bytes = |length: u64| usize::try_from(length).ok();
    Some(match serial {
        0 => (Type::Null, 0),
        1..=4 => (Type::Integer, bytes(serial)?),
        5 => (Type::Integer, 6),
        6 => (Type::Integer, 8),
        7 => (Type::Float, 8),
        8 | 9 => (Type::Integer, 0),
        10 | 11 => return None,
        even if even % 2 == 0 => (Type::Blob, bytes((even - 12) / 2)?),
        odd => (Type::Text, bytes((odd - 13) / 2)?),
    })
}

/// The root page of a table.
///
/// # Errors
/// The schema is not of its form, or has no such table.
pub fn root_of<F: Read + Seek>(pages: &mut Pages<F>, table: &'static str) -> Result<u32, Fault> {
    let mut root = None;
    let mut left = MOST_TABLES;
    // Columns: type, name, tbl_name, rootpage, sql.
    rows(pages, SCHEMA, |row| {
        let is_it = text(row, 0)? == b"table" && text(row, 1)? == table.as_bytes();
        if is_it {
            root = Some(number(row, 3)?);
        }
        left -= 1;
        Ok(if is_it || left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    root.ok_or(Fault::NoTable(table))
}

/// A column's text; empty when it is longer than is compared.
fn text<'a, F: Read + Seek>(row: &'a mut Payload<'_, F>, index: usize) -> Result<&'a [u8], Fault> {
    let found = column(row, index)?.filter(|column| column.kind == Type::Text);
    let Column { at, length, .. } = found.ok_or(Fault::Schema)?;
    if length > LONGEST_NAME {
        return Ok(&[]);
    }
    row.upto(at + length)?.get(at..).ok_or(Fault::Schema)
}

/// A column's number of a page.
fn number<F: Read + Seek>(row: &mut Payload<'_, F>, index: usize) -> Result<u32, Fault> {
    let found = column(row, index)?.filter(|column| column.kind == Type::Integer);
    let Column {
        at, length, serial, ..
    } = found.ok_or(Fault::Schema)?;
    if serial == 9 {
        return Ok(1);
    }
    let bytes = row.upto(at + length)?.get(at..).ok_or(Fault::Schema)?;
    let number = bytes
        .iter()
        .fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    u32::try_from(number).map_err(|_| Fault::Schema)
}
