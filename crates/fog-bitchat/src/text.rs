//! Cutting texts where people would.

use unicode_segmentation::UnicodeSegmentation as _;

/// The beginning of a text: at most so many bytes, and no character as people see them cut apart. A character that is
/// longer than all there is room for is cut between its parts.
#[must_use]
pub fn cut(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let fits = text.grapheme_indices(true).map(|(at, grapheme)| at + grapheme.len()).take_while(|end| *end <= max_bytes);
    let end = fits.last().unwrap_or_else(|| text.floor_char_boundary(max_bytes));
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_see_as_one_character_stays_whole() {
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
        assert_eq!((cut("anna", 24), cut("anna", 3), cut("", 5)), ("anna", "ann", ""));
        assert_eq!(cut(&format!("123456789012{family}"), 24), "123456789012");
        assert_eq!(cut(&format!("123456{family}!"), 24), format!("123456{family}"));
        assert_eq!(cut("e\u{301}e\u{301}", 5), "e\u{301}");
        // No room for one at all.
        assert_eq!(cut(family, 8), "\u{1f468}\u{200d}");
    }
}
