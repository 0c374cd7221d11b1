//! Untrusted text, made safe to show: in a terminal, in the window, in a notification, in a log.
//!
//! Text from a peer or a job may contain escape sequences, characters that change the reading direction,
//! and invisible characters. All such text is shown through these functions, which alone decide what may be
//! shown. None of them limits the length of a text.

/// Number of combining marks kept on one character; more would cover the lines above and below.
const MAX_MARKS: u32 = 4;
/// Number of tag characters kept after a black flag: those of the flags of UTS #51 have at most six.
const MAX_TAGS: u32 = 7;

/// Returns a text on one line: line breaks and control characters become spaces; characters that are
/// invisible or change the reading direction are removed.
///
/// Joiners stay where scripts and emoji need them, so families, flags and Persian words keep their look.
#[must_use]
pub fn clean(text: &str) -> String {
    shown(text, false)
}

/// Cleans a text like [`clean`], but keeps its line breaks.
#[must_use]
pub fn clean_lines(text: &str) -> String {
    shown(&text.replace("\r\n", "\n"), true)
}

/// Cleans a name like [`clean`], without spaces at its ends and with single ones inside.
#[must_use]
pub fn clean_name(name: &str) -> String {
    clean(name).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns a number with the matching word: `1 file`, `2 files`.
#[must_use]
pub fn counted(n: u64, one: &str, others: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { others })
}

/// Escapes text for Pango or HTML markup, so that it is shown unchanged.
#[must_use]
pub fn escape_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn shown(text: &str, has_lines: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut before, mut marks, mut tags) = (None, 0, 0);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let c = match c {
            '\n' if has_lines => c,
            '\u{2028}' | '\u{2029}' if has_lines => '\n',
            // The ideographic space is as wide as a letter and stays.
            c if c.is_control() || (c.is_whitespace() && c != '\u{3000}') || c == '\u{2800}' => ' ',
            '\u{200c}' | '\u{200d}'
                if before.is_some_and(joins)
                    && rest
                        .peek()
                        .is_some_and(|next| joins(*next) && !is_mark(*next) && !is_selector(*next)) =>
            {
                c
            }
            c if is_selector(c) && before.is_some_and(has_forms) => c,
            '\u{e0020}'..='\u{e007f}'
                if tags < MAX_TAGS
                    && before.is_some_and(|before| before == '\u{1f3f4}' || is_tag(before)) =>
            {
                c
            }
            c if is_hidden(c) => continue,
            c => c,
        };
        marks = match c {
            c if is_mark(c) => marks + 1,
            c if is_selector(c) => marks,
            _ => 0,
        };
        tags = if is_tag(c) { tags + 1 } else { 0 };
        if marks > MAX_MARKS {
            continue;
        }
        out.push(c);
        before = Some(c);
    }
    out
}

/// Whether the character selects the text form or the emoji form of the one before it.
fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe0e}' | '\u{fe0f}')
}

fn is_tag(c: char) -> bool {
    ('\u{e0020}'..='\u{e007f}').contains(&c)
}

/// Whether the character counts as part of an emoji for joiners and variation selectors.
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2190}'..='\u{2bff}' | '\u{fe0f}')
}

/// Whether a joiner beside this character can change the display: emoji, and letters from Arabic to
/// Sinhala, of Khmer and of Mongolian.
fn joins(c: char) -> bool {
    is_emoji(c) || matches!(c, '\u{600}'..='\u{dff}' | '\u{1780}'..='\u{18af}') && !is_hidden(c)
}

/// Whether the character has both a text form and an emoji form.
fn has_forms(c: char) -> bool {
    (is_emoji(c) && !is_selector(c))
        || c.is_ascii_digit()
        || matches!(
            c,
            '#' | '*'
                | '\u{a9}'
                | '\u{ae}'
                | '\u{203c}'
                | '\u{2049}'
                | '\u{2122}'
                | '\u{2139}'
                | '\u{3030}'
                | '\u{303d}'
                | '\u{3297}'
                | '\u{3299}'
        )
}

fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// Whether the character is invisible or changes the reading direction.
fn is_hidden(c: char) -> bool {
    matches!(c,
        // Soft hyphen, grapheme joiner, direction marks.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        // Hangul fillers, and Khmer vowels and Mongolian separators without a shape.
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        // Variation selectors, byte order mark, annotations, tags and noncharacters.
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{fdd0}'..='\u{fdef}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_a_cursor_or_adds_a_line() {
        let hostile = "a\u{1b}[2J\u{1b}]0;title\u{7}b\r\n12:00 root: c\u{9b}31md\u{85}e\u{2028}f\tg\u{0}";
        let one = clean(hostile);
        assert!(!one.chars().any(char::is_control) && one.lines().count() == 1, "{one:?}");
        assert!(one.contains("12:00 root: c"), "the words themselves stay");
        let lines = clean_lines(hostile);
        assert!(lines.chars().all(|c| c == '\n' || !c.is_control()), "{lines:?}");
        assert_eq!(lines.lines().count(), 3);
    }

    #[test]
    fn nothing_turns_the_direction_or_hides() {
        for hidden in [
            "\u{202e}",
            "\u{202d}",
            "\u{2066}",
            "\u{2069}",
            "\u{200e}",
            "\u{200f}",
            "\u{61c}",
            "\u{200b}",
            "\u{feff}",
            "\u{ad}",
            "\u{2060}",
            "\u{3164}",
            "\u{e0061}",
            "\u{fe0f}",
            "\u{200d}",
            "\u{34f}",
        ] {
            assert_eq!(clean(&format!("an{hidden}na")), "anna", "{hidden:?}");
            assert_eq!(clean_lines(&format!("{hidden}an\n{hidden}na")), "an\nna", "{hidden:?}");
        }
    }

    #[test]
    fn what_needs_joiners_keeps_them() {
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
        let scotland = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}";
        let heart = "\u{2764}\u{fe0f}\u{200d}\u{1f525}";
        for whole in [
            family,
            scotland,
            heart,
            "1\u{fe0f}\u{20e3}",
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "\u{915}\u{94d}\u{200d}\u{937}",
            "Grüße, 世界",
            "a\u{301}",
        ] {
            assert_eq!(clean(whole), whole, "{whole:?}");
        }
        assert_eq!(clean("\u{1f468}\u{200d}"), "\u{1f468}", "one that joins nothing");
        assert_eq!(clean("\u{1f468}\u{200d}\u{202e}\u{1f467}"), "\u{1f468}\u{1f467}");
    }

    #[test]
    fn marks_do_not_pile_up_and_names_have_no_blanks_around() {
        assert_eq!(clean(&format!("a{}b", "\u{301}".repeat(300))).chars().count(), 2 + MAX_MARKS as usize);
        assert_eq!(clean_name(" \u{2800}anna\u{a0} \t of\nx\u{3000}"), "anna of x");
        assert_eq!(clean_name("\u{200b}\u{202e}"), "");
    }

    #[test]
    fn no_run_of_invisible_characters_is_long() {
        for (base, hidden) in [
            ("\u{2764}", "\u{fe0f}"),
            ("\u{2764}\u{fe0f}", "\u{200d}\u{fe0f}"),
            ("\u{1f3f4}", "\u{e0061}"),
            ("1", "\u{fe0e}\u{fe0f}"),
        ] {
            let shown = clean(&format!("{base}{}a", hidden.repeat(300))).chars().count();
            assert!(shown <= 2 + MAX_TAGS as usize, "{hidden:?}: {shown}");
        }
    }

    #[test]
    fn markup_is_shown_as_it_was_written() {
        assert_eq!(escape_markup("<a href=\"x\">&\u{e4}</a>"), "&lt;a href=\"x\"&gt;&amp;\u{e4}&lt;/a&gt;");
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_one_line_and_cleaning_it_again_changes_nothing(text: String) {
            let once = clean(&text);
            proptest::prop_assert!(!once.chars().any(char::is_control));
            proptest::prop_assert_eq!(clean(&once), once.clone());
            proptest::prop_assert_eq!(clean_lines(&once), once);
        }
    }
}
