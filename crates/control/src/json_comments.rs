//! Comments in configuration files, which are no part of JSON.

/// Blanks out `/* */` and `//` comments, which SPDK's own parser allows; line numbers stay.
#[must_use]
pub fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('"', _) => {
                kept.push(c);
                while let Some(c) = rest.next() {
                    kept.push(c);
                    match c {
                        '\\' => kept.extend(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            ('/', Some('/')) => while rest.next_if(|c| *c != '\n').is_some() {},
            ('/', Some('*')) => {
                rest.next();
                let mut last = ' ';
                for c in rest.by_ref() {
                    if c == '\n' {
                        kept.push(c);
                    }
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
                kept.push(' ');
            }
            _ => kept.push(c),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_texts_and_lines_stay() {
        assert_eq!(without_comments("[1, // one\n2]"), "[1, \n2]");
        assert_eq!(without_comments("[/* a\nb */1]"), "[\n 1]");
        let text = r#"{"a": "// \" /* none */"}"#;
        assert_eq!(without_comments(text), text);
    }
}
