//! The b-tree of a table: its rows in order, each as a payload that is read as far as it is wanted.

use std::io::{Read, Seek};
use std::ops::ControlFlow;

use super::pages::{HEADER, Pages};
use super::{Fault, be16, be32, varint};

const INTERIOR: u8 = 0x05;
const LEAF: u8 = 0x0d;
/// SQLite's own limit (`BTCURSOR_MAX_DEPTH`); 20 levels of two children hold a million pages.
const DEEPEST: usize = 20;
/// Most bytes of one row, SQLite's own limit.
const LONGEST_ROW: u64 = i32::MAX as u64;

/// A row's record: what of it is in the leaf, and the overflow pages after that.
pub struct Payload<'a, F> {
    pages: &'a mut Pages<F>,
    /// What was read of it.
    bytes: Vec<u8>,
    /// Bytes of the whole.
    length: usize,
    /// The leaf, for what is said of a damaged one.
    leaf: u32,
    /// The overflow page where it goes on; 0 where it does not.
    next: u32,
}

impl<F: Read + Seek> Payload<'_, F> {
    /// Bytes of the whole.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The first `end` bytes, or all where it is shorter.
    ///
    /// # Errors
    /// An overflow page is missing, was read before, or the chain of them is too short.
    pub fn upto(&mut self, end: usize) -> Result<&[u8], Fault> {
        let end = end.min(self.length);
        while self.bytes.len() < end {
            if self.next == 0 {
                return Err(Fault::Page(self.leaf));
            }
            let number = self.next;
            let page = self.pages.read(number)?;
            self.next = be32(&page, 0).ok_or(Fault::Page(number))?;
            let missing = self.length - self.bytes.len();
            let content = page.get(4..).unwrap_or_default();
            self.bytes.extend(content.iter().take(missing));
        }
        Ok(self.bytes.get(..end).unwrap_or_default())
    }
}

/// Gives each row of the table whose root page is `root` to `each`, in order of row ids, until that
/// breaks.
///
/// # Errors
/// A page is not of its form, missing or used twice, or `each` failed.
pub fn rows<F: Read + Seek>(
    pages: &mut Pages<F>,
    root: u32,
    mut each: impl FnMut(&mut Payload<'_, F>) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), Fault> {
    let mut open = vec![(root, 1)];
    while let Some((number, level)) = open.pop() {
        if level > DEEPEST {
            return Err(Fault::Deep(DEEPEST));
        }
        let page = pages.read(number)?;
        let damaged = || Fault::Page(number);
        let node = Node::parse(number, &page).ok_or_else(damaged)?;
        if let Some(right) = node.right {
            // The last on the stack is read first.
            open.push((right, level + 1));
            for cell in node.cells.rev() {
                let child = cell.and_then(|at| be32(&page, at)).ok_or_else(damaged)?;
                open.push((child, level + 1));
            }
        } else {
            for cell in node.cells {
                let cell = cell.ok_or_else(damaged)?;
                let mut payload = payload(pages, number, &page, cell).ok_or_else(damaged)?;
                if each(&mut payload)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The head of a page of a table's b-tree.
struct Node<C> {
    /// The child right of all cells, in an interior page.
    right: Option<u32>,
    /// Offsets of the cells in the page.
    cells: C,
}

impl Node<()> {
    fn parse(
        number: u32,
        page: &[u8],
    ) -> Option<Node<impl DoubleEndedIterator<Item = Option<usize>> + use<'_>>> {
        let at = if number == 1 { HEADER } else { 0 };
        let (right, array) = match *page.get(at)? {
            INTERIOR => (Some(be32(page, at + 8)?), at + 12),
            LEAF => (None, at + 8),
            _ => return None,
        };
        let count = usize::from(be16(page, at + 3)?);
        let pointers = page.get(array..array + 2 * count)?;
        let cells = pointers.chunks_exact(2).map(|p| be16(p, 0).map(usize::from));
        Some(Node { right, cells })
    }
}

/// The payload of a leaf's cell: its length, the row id, as much as the leaf holds, the first
/// overflow page.
fn payload<'a, F: Read + Seek>(
    pages: &'a mut Pages<F>,
    leaf: u32,
    page: &[u8],
    cell: usize,
) -> Option<Payload<'a, F>> {
    let (length, at) = varint(page, cell)?;
    let (_, at) = varint(page, at)?;
    if length > LONGEST_ROW {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    let local = local(pages.usable(), length);
    let bytes = page.get(at..at + local)?.to_vec();
    let next = if local < length {
        be32(page, at + local)?
    } else {
        0
    };
    Some(Payload {
        pages,
        bytes,
        length,
        leaf,
        next,
    })
}

/// How much of a payload is in its leaf: all, or what leaves the last overflow page full, or the
/// least.
fn local(usable: usize, length: usize) -> usize {
    let most = usable - 35;
    if length <= most {
        return length;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let full = least + (length - least) % (usable - 4);
    if full <= most { full } else { least }
}
