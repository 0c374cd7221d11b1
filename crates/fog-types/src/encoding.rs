//! Decoding of text files as editors and shells write them.

/// Decodes the text of a file and removes a byte order mark.
///
/// Accepts UTF-8 with or without a byte order mark, and UTF-16 with one, as Windows PowerShell writes it.
///
/// # Errors
/// Returns a sentence that names the encoding in which the file is not valid.
pub fn decode_text(bytes: &[u8]) -> Result<String, String> {
    let wide = |unit: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        if bytes.len() % 2 == 1 { None } else { String::from_utf16(&units).ok() }
    };
    let (text, kind) = match bytes {
        [0xff, 0xfe, rest @ ..] => (wide(u16::from_le_bytes, rest), "UTF-16"),
        [0xfe, 0xff, rest @ ..] => (wide(u16::from_be_bytes, rest), "UTF-16"),
        [0xef, 0xbb, 0xbf, rest @ ..] => (String::from_utf8(rest.to_vec()).ok(), "UTF-8"),
        _ => (String::from_utf8(bytes.to_vec()).ok(), "UTF-8"),
    };
    text.ok_or_else(|| format!("it is not text in {kind}"))
}

/// Returns the text without a byte order mark at its start.
#[must_use]
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_editors_and_shells_are_understood() {
        let wide = |mark: [u8; 2], order: fn(u16) -> [u8; 2]| {
            mark.into_iter().chain("grün".encode_utf16().flat_map(order)).collect::<Vec<_>>()
        };
        for bytes in [
            "grün".as_bytes().to_vec(),
            "\u{feff}grün".as_bytes().to_vec(),
            wide([0xff, 0xfe], u16::to_le_bytes),
            wide([0xfe, 0xff], u16::to_be_bytes),
        ] {
            assert_eq!(decode_text(&bytes), Ok("grün".to_owned()));
        }
        assert!(decode_text(&[0xff, 0xfe, 1]).unwrap_err().contains("UTF-16"));
        assert!(decode_text(&[0x80]).unwrap_err().contains("UTF-8"));
        assert_eq!((without_mark("\u{feff}a"), without_mark("a")), ("a", "a"));
    }
}
