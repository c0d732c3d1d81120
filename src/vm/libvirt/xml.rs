//! Writes XML for libvirt. Every value is escaped; nothing is pasted together.

use std::fmt::{self, Display, Formatter, Write};

/// An element with attributes, and either text or children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    text: String,
    children: Vec<Element>,
}

/// An element without anything in it yet.
pub(super) fn element(name: &'static str) -> Element {
    Element {
        name,
        attributes: Vec::new(),
        text: String::new(),
        children: Vec::new(),
    }
}

impl Element {
    pub(super) fn attr(mut self, name: &'static str, value: impl Display) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }

    pub(super) fn text(mut self, text: impl Display) -> Self {
        self.text = text.to_string();
        self
    }

    pub(super) fn child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    pub(super) fn children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(f, " {name}=\"")?;
            escape(f, value)?;
            f.write_char('"')?;
        }
        if self.text.is_empty() && self.children.is_empty() {
            return f.write_str("/>");
        }
        f.write_char('>')?;
        escape(f, &self.text)?;
        for child in &self.children {
            child.fmt(f)?;
        }
        write!(f, "</{}>", self.name)
    }
}

/// Writes text so that a parser reads the same text (XML 1.0 §2.4, §3.3.3). Characters that XML 1.0
/// cannot hold at all (§2.2) become U+FFFD.
fn escape(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '&' => f.write_str("&amp;")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '"' => f.write_str("&quot;")?,
            '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(c))?,
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}')?,
            _ => f.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "[^\0-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{fffe}\u{ffff}]{0,40}") {
            let xml = element("a").attr("b", &text).child(element("c").text(&text)).to_string();
            let tree = roxmltree::Document::parse(&xml).unwrap();
            let root = tree.root_element();
            prop_assert_eq!(root.attribute("b"), Some(text.as_str()));
            prop_assert_eq!(root.first_element_child().unwrap().text().unwrap_or_default(), text);
        }
    }

    #[test]
    fn a_value_cannot_leave_its_attribute() {
        let xml = element("a").attr("b", "x\"/><evil/>\0").to_string();
        assert_eq!(xml, "<a b=\"x&quot;/&gt;&lt;evil/&gt;\u{fffd}\"/>");
    }
}
