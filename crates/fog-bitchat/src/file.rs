//! Files; the encoding is the same in public and inside a Noise session.

use sha2::{Digest as _, Sha256};

use crate::bytes::{Reader, WireError, put16, text};
use crate::identity::PeerId;

const NAME: u8 = 0x01;
const SIZE: u8 = 0x02;
const MIME: u8 = 0x03;
const CONTENT: u8 = 0x04;
/// Maximum size of a file that is accepted, in bytes.
const MAX_CONTENT: usize = 1 << 20;

/// A file with its name and media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePacket {
    /// Name given by the sender; use [`Self::safe_name`] on disk.
    pub name: String,
    /// Media type.
    pub mime: String,
    /// Contents, at most 1 MiB; Android accepts about 110 kB.
    pub content: Vec<u8>,
}

impl FilePacket {
    /// Encodes the file for a packet or a session: four fields, in the order that both apps write.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when the contents exceed 1 MiB or another field 65,535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        if self.content.len() > MAX_CONTENT {
            return Err(WireError::TooLong);
        }
        let size = self.content.len() as u32;
        let mut out = Vec::with_capacity(self.content.len() + self.name.len() + self.mime.len() + 20);
        put16(&mut out, NAME, self.name.as_bytes())?;
        put16(&mut out, SIZE, &size.to_be_bytes())?;
        put16(&mut out, MIME, self.mime.as_bytes())?;
        out.push(CONTENT);
        out.extend(size.to_be_bytes());
        out.extend_from_slice(&self.content);
        Ok(out)
    }

    /// Decodes a file. Unknown fields are skipped; the two-byte length before the contents that old apps
    /// write is accepted too.
    ///
    /// # Errors
    /// [`WireError`] when the contents are missing or a field is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (mut name, mut mime, mut content) =
            (String::new(), String::from("application/octet-stream"), None);
        let mut reader = Reader(bytes);
        while !reader.is_empty() {
            if reader.0[0] == CONTENT {
                content = Some(content_of(&mut reader)?.to_vec());
                continue;
            }
            let (kind, value) = reader.field16()?;
            match kind {
                NAME => name = text(kind, value)?,
                MIME if value.is_ascii() => mime = text(kind, value)?,
                MIME => return Err(WireError::Invalid(kind)),
                SIZE if value.len() != 4 && value.len() != 8 => return Err(WireError::Invalid(kind)),
                _ => {}
            }
        }
        Ok(Self { name, mime, content: content.ok_or(WireError::Missing(CONTENT))? })
    }

    /// File name without folders, control characters, or characters that some system does not allow.
    #[must_use]
    pub fn safe_name(&self) -> String {
        let last = self.name.rsplit(['/', '\\']).next().unwrap_or_default();
        let clean: String = last
            .chars()
            .filter(|c| !c.is_control() && !"<>:\"|?*\u{202e}\u{202d}\u{2066}\u{2067}".contains(*c))
            .take(100)
            .collect();
        let clean = clean.trim_matches(|c: char| c == '.' || c.is_whitespace());
        if clean.is_empty() { "file".to_owned() } else { clean.to_owned() }
    }

    /// Whether the contents match the media type. Types that cannot be checked are accepted, except images
    /// and audio.
    #[must_use]
    pub fn is_what_it_says(&self) -> bool {
        let begins = |magic: &[u8]| self.content.starts_with(magic);
        let at = |place: usize, magic: &[u8]| {
            self.content.get(place..).is_some_and(|rest| rest.starts_with(magic))
        };
        match self.mime.as_str() {
            "image/jpeg" => begins(&[0xff, 0xd8, 0xff]),
            "image/png" => begins(b"\x89PNG\r\n\x1a\n"),
            "image/gif" => begins(b"GIF8"),
            "image/webp" => begins(b"RIFF") && at(8, b"WEBP"),
            "audio/wav" | "audio/x-wav" => begins(b"RIFF") && at(8, b"WAVE"),
            "audio/ogg" => begins(b"OggS"),
            "audio/mpeg" | "audio/mp3" => {
                begins(b"ID3")
                    || (begins(&[0xff]) && self.content.get(1).is_some_and(|byte| byte & 0xe0 == 0xe0))
            }
            "application/pdf" => begins(b"%PDF"),
            "audio/mp4" | "audio/m4a" | "audio/aac" => self.content.len() > 100,
            // Images and sounds are displayed, so only types that can be checked are accepted.
            other => !other.starts_with("image/") && !other.starts_with("audio/"),
        }
    }

    /// Id under which an iPhone acknowledges a private file.
    #[must_use]
    pub fn media_id(&self, sender: PeerId, recipient: PeerId) -> String {
        let mut hasher = Sha256::new_with_prefix(b"bitchat-private-media-message-v1");
        for field in [sender.to_string(), recipient.to_string(), self.name.clone()] {
            hasher.update((field.len() as u32).to_be_bytes());
            hasher.update(field.as_bytes());
        }
        format!("media-{}", &data_encoding::HEXLOWER.encode(&hasher.finalize())[..32])
    }
}

fn content_of<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    reader.u8()?;
    let mut long = *reader;
    if let Ok(length) = long.u32()
        && let Ok(value) = long.take(length as usize)
    {
        *reader = long;
        return if value.len() > MAX_CONTENT { Err(WireError::TooLong) } else { Ok(value) };
    }
    let length = reader.u16()?;
    reader.take(usize::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_and_the_old_form() {
        let file = FilePacket { name: "a".to_owned(), mime: "m".to_owned(), content: vec![0xde, 0xad] };
        let bytes = data_encoding::HEXLOWER.decode(b"01000161020004000000020300016d0400000002dead").unwrap();
        assert_eq!(file.encode().unwrap(), bytes);
        assert_eq!(FilePacket::decode(&bytes), Ok(file.clone()));
        let old = data_encoding::HEXLOWER
            .decode(b"0100016102000800000000000000020300016d7f000100040002dead")
            .unwrap();
        assert_eq!(FilePacket::decode(&old), Ok(file));
        assert_eq!(
            FilePacket::decode(&data_encoding::HEXLOWER.decode(b"010001610400000002de").unwrap()),
            Err(WireError::Short)
        );
        assert_eq!(
            FilePacket::decode(&data_encoding::HEXLOWER.decode(b"01000161").unwrap()),
            Err(WireError::Missing(CONTENT))
        );
    }

    #[test]
    fn the_id_of_the_vector() {
        let name = "img_20260725_105708_1CC2760D-76AA-40C3-8013-C7FAA6C2EF99.jpg".to_owned();
        let file = FilePacket { name, mime: "image/jpeg".to_owned(), content: Vec::new() };
        let (from, to) =
            (PeerId::parse("0011223344556677").unwrap(), PeerId::parse("8899aabbccddeeff").unwrap());
        assert_eq!(file.media_id(from, to), "media-910bd42c65060ab76bb6406f220c4516");
    }

    #[test]
    fn names_lead_nowhere() {
        for (name, safe) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\x\\y.png", "y.png"),
            ("..", "file"),
            ("a\u{202e}gpj.exe", "agpj.exe"),
            ("", "file"),
            (" .a?b ", "ab"),
        ] {
            assert_eq!(
                FilePacket { name: name.to_owned(), mime: String::new(), content: Vec::new() }.safe_name(),
                safe
            );
        }
    }

    #[test]
    fn a_type_that_its_bytes_contradict_is_seen() {
        let file = |mime: &str, content: &[u8]| FilePacket {
            name: String::new(),
            mime: mime.to_owned(),
            content: content.to_vec(),
        };
        assert!(file("image/png", b"\x89PNG\r\n\x1a\n....").is_what_it_says());
        assert!(!file("image/png", b"MZ").is_what_it_says());
        assert!(!file("image/svg+xml", b"<svg>").is_what_it_says());
        assert!(file("text/plain", b"hello").is_what_it_says());
        assert!(file("application/octet-stream", b"anything").is_what_it_says());
    }
}
