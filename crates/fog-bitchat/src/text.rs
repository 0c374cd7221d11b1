//! Cutting of texts at grapheme boundaries.

use unicode_segmentation::UnicodeSegmentation as _;

/// Longest beginning of a text of at most `max_bytes` bytes that ends between grapheme clusters. A first
/// cluster that does not fit at all is cut between its code points.
#[must_use]
pub fn cut(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let fits = text
        .grapheme_indices(true)
        .map(|(at, grapheme)| at + grapheme.len())
        .take_while(|end| *end <= max_bytes);
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
        // Not even one cluster fits.
        assert_eq!(cut(family, 8), "\u{1f468}\u{200d}");
    }
}
