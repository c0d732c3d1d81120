//! Just enough of Rust's grammar to read imports and to measure functions.

/// `text` with the content of comments, strings and character literals replaced by blanks; line
/// breaks stay.
pub fn blank_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => position(&chars, at, |c| c == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            'r' if !at.checked_sub(1).is_some_and(|b| is_word(chars[b])) => {
                raw_string_end(&chars, at).unwrap_or(at)
            }
            '"' => quoted_end(&chars, at, '"'),
            '\'' => char_literal_end(&chars, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn position(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..chars.len())
        .find(|i| wanted(chars[*i]))
        .unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of `'x'` or `'\n'`; none for a lifetime.
fn char_literal_end(chars: &[char], start: usize) -> Option<usize> {
    match (chars.get(start + 1)?, chars.get(start + 2)?) {
        ('\\', _) => Some(quoted_end(chars, start, '\'')),
        (_, '\'') => Some(start + 3),
        _ => None,
    }
}

/// The end of `r"…"` or `r#"…"#`; none for another word.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    (open + 1..chars.len())
        .find(|i| {
            chars[*i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        })
        .map(|i| i + 1 + hashes)
}

/// The top-level modules that `text` (without comments and strings) names, for a file `depth`
/// modules deep: after `crate::`, after `depth` times `super::`, each also with a group.
pub fn crate_paths(text: &str, depth: usize) -> Vec<String> {
    let climb = "super::".repeat(depth);
    let mut found = Vec::new();
    for prefix in ["crate::", climb.as_str()] {
        if prefix.is_empty() {
            continue;
        }
        for (at, _) in text.match_indices(prefix) {
            let before = &text[..at];
            if before.ends_with("::") || before.ends_with(is_word) {
                continue;
            }
            heads(&text[at + prefix.len()..], &mut found);
        }
    }
    found
}

/// The first segment of a path, or of each path of a group.
fn heads(rest: &str, found: &mut Vec<String>) {
    let rest = rest.trim_start();
    let Some(group) = rest.strip_prefix('{') else {
        found.push(rest.chars().take_while(|c| is_word(*c)).collect());
        return;
    };
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let part = group[start..at].trim();
                found.push(part.chars().take_while(|c| is_word(*c)).collect());
                start = at + 1;
                if c == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// `text` up to its unit tests, which end a file.
pub fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {")
        .map_or(text, |at| &text[..at])
}

/// Functions longer than `max` lines, from the line of `fn` to its closing brace.
pub fn long_functions(text: &str, max: usize) -> Vec<(String, usize)> {
    let text = blank_comments_and_strings(text);
    let mut found = Vec::new();
    for (at, _) in text.match_indices("fn ") {
        if text[..at].ends_with(is_word) {
            continue;
        }
        let name: String = text[at + 3..].chars().take_while(|c| is_word(*c)).collect();
        if let Some(length) = body_end(&text[at..]) {
            let lines = text[at..at + length].lines().count();
            if lines > max && !name.is_empty() {
                found.push((name, lines));
            }
        }
    }
    found
}

/// Where the body that follows a signature ends; none for a declaration without one.
fn body_end(text: &str) -> Option<usize> {
    let mut braces = 0;
    let mut brackets = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}
