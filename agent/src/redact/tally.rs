//! Redacts the fields of one item and counts over all of them.

use safetytwin_crds::item::Text;

use super::{Redacted, Redactor};

/// Of one item.
pub struct Tally<'a> {
    redactor: &'a Redactor,
    /// Placeholders in all fields so far.
    pub count: u32,
}

impl Redactor {
    /// For the fields of an item.
    pub fn tally(&self) -> Tally<'_> {
        Tally {
            redactor: self,
            count: 0,
        }
    }
}

impl Tally<'_> {
    fn add(&mut self, redacted: Redacted) -> String {
        self.count += redacted.count;
        redacted.text
    }

    /// As [`Redactor::text`].
    pub fn text(&mut self, text: &str) -> String {
        let redacted = self.redactor.text(text);
        self.add(redacted)
    }

    /// As [`Redactor::name`].
    pub fn name(&mut self, name: &str) -> String {
        let redacted = self.redactor.name(name);
        self.add(redacted)
    }

    /// As [`Redactor::image`].
    pub fn image(&mut self, reference: &str) -> String {
        let redacted = self.redactor.image(reference);
        self.add(redacted)
    }

    /// As [`Redactor::pair`].
    pub fn pair(&mut self, name: &str, value: &str) -> (String, String) {
        let (name, value) = self.redactor.pair(name, value);
        (self.add(name), self.add(value))
    }

    /// As [`Redactor::whole`].
    pub fn whole(&mut self, secret: &str) -> String {
        let redacted = self.redactor.whole(secret);
        self.add(redacted)
    }

    /// As [`Redactor::argv`].
    pub fn argv(&mut self, arguments: &[Vec<u8>]) -> Vec<Text> {
        let (texts, count) = self.redactor.argv(arguments);
        self.count += count;
        texts
    }

    /// The words of a command as an engine lists them.
    pub fn words(&mut self, words: &[String]) -> Vec<Text> {
        let bytes: Vec<Vec<u8>> = words.iter().map(|word| word.clone().into_bytes()).collect();
        self.argv(&bytes)
    }

    /// As [`Redactor::bytes`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Text {
        let (text, count) = self.redactor.bytes(bytes);
        self.count += count;
        text
    }
}
