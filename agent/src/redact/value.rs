//! Where the value of a secret name begins and ends.

/// How far is looked ahead for what may begin at each place of a text: a text of 64 KiB has as many places.
pub const AHEAD: usize = 256;
/// The same, of signs of which no text has that many in a row.
const SIGNS: usize = 32;

/// The start of `text`, as far as is looked ahead.
pub fn ahead(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// What stands between a name and its value.
pub struct Separator {
    /// Its bytes.
    pub len: usize,
    /// A quote that was open before the name ends in it.
    pub closed: bool,
}

/// What separates a name from its value in `after`: `=`, `:`, `": "`, `>` of an element, white space
/// after a `flag`, `'` in SQL, and `", "value": "` of lists of pairs.
pub fn separator(after: &str, flag: bool, element: bool) -> Option<Separator> {
    let escapes = len_while(after, |c| c == '\\');
    let closed = char_at(after, escapes).is_some_and(|c| matches!(c, '"' | '\''));
    let quote = if closed { escapes + 1 } else { 0 };
    let found = |len: usize| Some(Separator { len, closed });
    let rest = after.get(quote..)?;
    if element && rest.starts_with('>') {
        return found(1);
    }
    let spaces = blank(rest);
    let empty = spaces == 0 && !closed && rest.starts_with("= ");
    if let Some(sign) = sign(rest.get(spaces..)?).filter(|_| !empty) {
        return found(quote + spaces + sign);
    }
    if let Some(pair) = pair(rest) {
        return found(quote + pair);
    }
    if spaces > 0 && rest.get(spaces..)?.starts_with('\'') {
        return found(quote + spaces);
    }
    // `--password VALUE`, also over a continued line; the next flag is no value.
    let gap = gap(rest);
    let value = rest.get(gap..)?;
    let is_value = !value.is_empty() && !value.trim_start_matches(['"', '\'']).starts_with('-');
    let parted = gap > 0 && (closed || !rest.starts_with(','));
    if flag && parted && is_value {
        found(quote + gap)
    } else {
        None
    }
}

/// `=` or `:` and the blanks after it; no `::`, no `://`.
fn sign(text: &str) -> Option<usize> {
    let sign = ["=>", ":=", "=", ":"].into_iter().find(|s| text.starts_with(s))?;
    if text.starts_with("://") || text.starts_with("::") {
        return None;
    }
    Some(sign.len() + blank(text.get(sign.len()..)?))
}

/// `, "value": ` after the name in a list of names and values.
fn pair(text: &str) -> Option<usize> {
    let before = len_while(text, |c| c.is_whitespace() || ",\"'\\".contains(c));
    let rest = text.get(before..)?.strip_prefix("value")?;
    let quote = len_while(rest, |c| "\"'\\".contains(c));
    let spaces = blank(rest.get(quote..)?);
    let sign = sign(rest.get(quote + spaces..)?)?;
    (before > 0).then_some(before + "value".len() + quote + spaces + sign)
}

fn blank(text: &str) -> usize {
    len_while(text, |c| c == ' ' || c == '\t')
}

/// White space, commas, continuations and the comment lines between them.
pub fn gap(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let white = len_while(rest, |c| c.is_whitespace() || c == ',');
        let continued = len_while(rest, |c| c == '\\');
        let comment = rest.starts_with(['#', ';']) && text.get(..at).is_some_and(|t| t.ends_with('\n'));
        let step = if white > 0 {
            white
        } else if continued > 0 && rest.get(continued..).is_some_and(|r| r.starts_with(['\n', '\r'])) {
            continued
        } else if comment {
            len_until(rest, |c| c == '\n')
        } else {
            return at;
        };
        at += step;
    }
}

/// What parts two arguments: the closing quote of the one, a gap, the opening quote of the other; and
/// the length of the last.
pub fn between(text: &str) -> (usize, usize) {
    let quote = |text: &str| len_while(text, |c| matches!(c, '"' | '\''));
    let closing = quote(text);
    let gap = gap(text.get(closing..).unwrap_or_default());
    if gap == 0 {
        return (0, 0);
    }
    let opening = quote(text.get(closing + gap..).unwrap_or_default()).min(1);
    (closing + gap + opening, opening)
}

/// The length of a value up to its closing quote, or to the end when there is none. An `escaped` quote
/// ends at the next one that is escaped too.
pub fn quoted_end(text: &str, quote: char, escaped: bool) -> usize {
    let mut skip = false;
    for (at, c) in text.char_indices() {
        let next = text.get(at + c.len_utf8()..).unwrap_or_default();
        if std::mem::take(&mut skip) {
            continue;
        }
        match c {
            '\\' if escaped && unescaped(next).starts_with(quote) => return at,
            '\\' if quote == '"' => skip = true,
            c if c == quote => return at,
            _ => {}
        }
    }
    text.len()
}

/// The length of a value without quotes: to white space, or to a sign after which the next pair
/// begins or everything closes. A password may hold any of these signs.
pub fn unquoted_end(text: &str) -> usize {
    for (at, c) in text.char_indices() {
        let next = text.get(at + c.len_utf8()..).unwrap_or_default();
        let ends = match c {
            c if c.is_whitespace() => true,
            '\\' => next.starts_with(['\n', '\r', '"', '\'']),
            '"' | '\'' | '}' | ')' | ']' => closes(next),
            ',' | ';' | '&' => begins_pair(next),
            '<' => next.starts_with('/'),
            _ => false,
        };
        if ends {
            return at;
        }
    }
    text.len()
}

/// What follows the backslashes.
fn unescaped(text: &str) -> &str {
    let signs = len_while(ahead(text, SIGNS), |c| c == '\\');
    text.get(signs..).unwrap_or_default()
}

/// Whether nothing but closing signs comes before the next white space or pair.
fn closes(text: &str) -> bool {
    let rest = ahead(text, SIGNS).trim_start_matches(|c| "})]\"'\\/>".contains(c));
    rest.is_empty() || rest.starts_with(char::is_whitespace) || rest.starts_with([',', ';', ':', '|', '<'])
}

/// Whether `name=` or `name:` comes, or the end.
fn begins_pair(text: &str) -> bool {
    let rest = ahead(text, AHEAD).trim_start_matches([' ', '"', '\'', '\\']);
    let name = len_while(rest, |c| c.is_ascii_alphanumeric() || "_-. ".contains(c));
    let sign = rest
        .get(name..)
        .unwrap_or_default()
        .trim_start_matches(['"', '\'', '\\']);
    let named = name > 0 && sign.starts_with(['=', ':']) && !sign.starts_with("://");
    named || text.is_empty() || text.starts_with(char::is_whitespace) || rest.starts_with(['}', ']', '{'])
}

/// The character at byte `at`.
pub fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

/// The length of the start of `text` whose characters all pass.
pub fn len_while(text: &str, test: impl Fn(char) -> bool) -> usize {
    len_until(text, |c| !test(c))
}

/// The length of the start of `text` before the first character that passes.
pub fn len_until(text: &str, test: impl Fn(char) -> bool) -> usize {
    text.find(test).unwrap_or(text.len())
}
