//! Text that came from elsewhere, on its way into conditions, events and logs.

/// Longest text that is passed on.
pub const MAX_CHARS: usize = 256;

/// One line of at most [`MAX_CHARS`] characters, without control characters: text from pods and servers is shown to
/// people and stored, and nobody vouches for it.
#[must_use]
pub fn clean(text: &str) -> String {
    let visible = text.trim().chars().filter_map(|char| match char {
        '\n' | '\r' | '\t' => Some(' '),
        char if char.is_control() || is_invisible(char) => None,
        char => Some(char),
    });
    let mut out: String = visible.take(MAX_CHARS + 1).collect();
    if out.chars().count() > MAX_CHARS {
        out = out.chars().take(MAX_CHARS - 1).collect();
        out.push('…');
    }
    out
}

/// At most `max` bytes, cut at a character.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// Characters that reorder or hide their neighbours (Unicode bidirectional controls, zero-width characters).
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_line_breaks_are_taken_out() {
        assert_eq!(clean(" a\u{1b}[0m\nb\u{202e}c\0 "), "a[0m bc");
    }

    #[test]
    fn long_text_ends_with_an_ellipsis_at_the_limit() {
        let cleaned = clean(&"é".repeat(1000));
        assert_eq!(cleaned.chars().count(), MAX_CHARS);
        assert!(cleaned.ends_with('…'));
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }
}
