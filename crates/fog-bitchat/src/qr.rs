//! The QR code that one phone shows and another scans: the address in it.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::identity::{Identity, PeerKeys, verify};

const SCHEME: &str = "bitchat://verify?";
/// Seconds before and after its creation for which a code is valid.
const LIFE: u64 = 300;

/// Contents of a code: the keys of the person who shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Keys of the person.
    pub keys: PeerKeys,
    /// Nickname that the person gives themselves.
    pub nickname: String,
    /// Nostr public key of the person, if any.
    pub npub: Option<String>,
    /// Time at which the code was made, in seconds since 1970.
    pub made: u64,
}

/// Reasons why a code is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The text is not a BitChat code.
    #[error("this is not a BitChat code")]
    Foreign,
    /// A field is missing or malformed.
    #[error("the code is damaged")]
    Damaged,
    /// The code is more than five minutes old, or as far ahead. Holds its age in seconds; negative if it is
    /// ahead.
    #[error("the code was made {} by this device's clock; show a new one, and if that is refused too, set the clock that is wrong", span(*.0))]
    Old(i64),
    /// The code is not signed by the key in it.
    #[error("the code is not signed by who it names")]
    Forged,
}

/// Age as text, in the unit that people would use.
fn span(seconds_ago: i64) -> String {
    let seconds = seconds_ago.unsigned_abs();
    let span = match seconds {
        0..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    if seconds_ago < 0 { format!("{span} from now") } else { format!("{span} ago") }
}

fn to_sign(noise: &str, sign: &str, npub: &str, nickname: &str, made: &str, nonce: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for field in ["bitchat-verify-v1", "1", noise, sign, npub, nickname, made, nonce] {
        out.push(u8::try_from(field.len()).ok()?);
        out.extend(field.bytes());
    }
    Some(out)
}

/// Address for the code. `nonce` is 16 fresh random bytes; a nickname longer than 255 bytes is cut.
#[must_use]
pub fn card(identity: &Identity, nickname: &str, now_seconds: u64, nonce: [u8; 16]) -> String {
    let keys = identity.keys();
    let nickname = crate::text::cut(nickname, 255);
    let (noise, sign, made, nonce) = (
        HEXLOWER.encode(&keys.noise),
        HEXLOWER.encode(&keys.signing),
        now_seconds.to_string(),
        BASE64URL_NOPAD.encode(&nonce),
    );
    let message = to_sign(&noise, &sign, "", nickname, &made, &nonce).unwrap_or_default();
    let signature = HEXLOWER.encode(&identity.sign(&message));
    format!(
        "{SCHEME}v=1&noise={noise}&sign={sign}&nick={}&ts={made}&nonce={nonce}&sig={signature}",
        escape(nickname)
    )
}

impl Card {
    /// Parses and verifies an address.
    ///
    /// # Errors
    /// [`CardError`] when the text is no BitChat code, or the code is damaged, forged or expired.
    pub fn read(address: &str, now_seconds: u64) -> Result<Self, CardError> {
        let query = address
            .trim()
            .strip_prefix(SCHEME)
            .filter(|query| query.len() < 4096)
            .ok_or(CardError::Foreign)?;
        let find = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
                .and_then(|(_, value)| unescape(value))
        };
        let field = |name: &str| find(name).ok_or(CardError::Damaged);
        let key = |text: &str| {
            HEXLOWER
                .decode(text.as_bytes())
                .ok()
                .and_then(|key| <[u8; 32]>::try_from(key).ok())
                .ok_or(CardError::Damaged)
        };
        if field("v")? != "1" {
            return Err(CardError::Foreign);
        }
        let (noise, sign) = (field("noise")?.to_lowercase(), field("sign")?.to_lowercase());
        let (nickname, ts, nonce, npub) = (field("nick")?, field("ts")?, field("nonce")?, find("npub"));
        let signature = HEXLOWER
            .decode(field("sig")?.to_lowercase().as_bytes())
            .ok()
            .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let keys = PeerKeys { noise: key(&noise)?, signing: key(&sign)? };
        let made: u64 = ts.parse().map_err(|_| CardError::Damaged)?;
        let message = to_sign(&noise, &sign, npub.as_deref().unwrap_or_default(), &nickname, &ts, &nonce)
            .ok_or(CardError::Damaged)?;
        if !verify(&keys.signing, &message, &signature.ok_or(CardError::Damaged)?) {
            return Err(CardError::Forged);
        }
        if made.abs_diff(now_seconds) > LIFE {
            return Err(CardError::Old(now_seconds.cast_signed().saturating_sub(made.cast_signed())));
        }
        Ok(Self { keys, nickname, npub, made })
    }
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(rest.next()?)? * 16 + digit(rest.next()?)?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::alice;

    #[test]
    fn a_card_is_read_for_five_minutes() {
        let address = card(&alice(), "Ali & Zoë=?", 1_000_000, [4; 16]);
        let read = Card::read(&address, 1_000_299).unwrap();
        assert_eq!((read.keys, read.nickname.as_str(), read.npub), (alice().keys(), "Ali & Zoë=?", None));
        assert_eq!(Card::read(&address, 1_000_301), Err(CardError::Old(301)));
        let hours_apart = Card::read(&address, 1_000_000 + 9_000).unwrap_err().to_string();
        assert!(
            hours_apart.contains("2 hours ago") && hours_apart.contains("set the clock"),
            "{hours_apart}"
        );
        assert_eq!(Card::read(&address, 999_699), Err(CardError::Old(-301)));
    }

    #[test]
    fn another_name_or_key_is_a_forgery() {
        let address = card(&alice(), "alice", 1_000_000, [4; 16]);
        assert_eq!(
            Card::read(&address.replace("nick=alice", "nick=carol"), 1_000_000),
            Err(CardError::Forged)
        );
        let other = HEXLOWER.encode(&Identity::new([1; 32], [1; 32]).keys().noise);
        let noise = HEXLOWER.encode(&alice().keys().noise);
        assert_eq!(Card::read(&address.replace(&noise, &other), 1_000_000), Err(CardError::Forged));
        assert_eq!(Card::read(&format!("{address}&npub=npub1x"), 1_000_000), Err(CardError::Forged));
    }

    #[test]
    fn what_is_no_card_says_so() {
        for (text, error) in [
            ("https://example.org", CardError::Foreign),
            ("bitchat://verify?v=2", CardError::Foreign),
            ("bitchat://verify?v=1&noise=zz", CardError::Damaged),
            ("bitchat://verify?v=1&nick=%G1", CardError::Damaged),
        ] {
            assert_eq!(Card::read(text, 0), Err(error), "{text}");
        }
    }
}
