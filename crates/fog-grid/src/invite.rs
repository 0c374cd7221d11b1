//! Private groups. A node that knows the secret of a group is a member; an invitation holds this secret and
//! the addresses of a member.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use fog_types::NodeId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

/// Prefix of an invitation, with the version of its format.
const HEAD: &str = "fog1";
const MAX_TEXT: usize = 2000;
const MAX_ADDRESSES: usize = 8;
const MAX_NAME: usize = 60;

/// Public id of a group, under which its members meet; does not reveal the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub [u8; 32]);

/// Group that this node belongs to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Name of the group among its members, 1 to 60 characters.
    pub name: String,
    /// Secret that makes a node that knows it a member.
    pub secret: [u8; 32],
}

impl Drop for Group {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Group {
    /// Returns the public id of the group.
    #[must_use]
    pub fn id(&self) -> GroupId {
        GroupId(blake3::derive_key("fog-compute 2026-11 group id", &self.secret))
    }

    /// Returns the proof of membership that `member` shows to `to` over an authenticated link. The proof is
    /// valid for this pair of nodes only.
    #[must_use]
    pub fn proof(&self, member: NodeId, to: NodeId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(b"member").update(&member.0).update(&to.0);
        *hasher.finalize().as_bytes()
    }

    /// Returns whether `proof` is the proof of `member` for `to`; compares in constant time.
    #[must_use]
    pub fn accepts(&self, proof: [u8; 32], member: NodeId, to: NodeId) -> bool {
        blake3::Hash::from_bytes(self.proof(member, to)) == blake3::Hash::from_bytes(proof)
    }
}

/// Invitation to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Group that the invitation is for, with its secret.
    pub group: Group,
    /// Member that invites.
    pub node: NodeId,
    /// Addresses of that member, at most 8.
    pub addresses: Vec<String>,
}

/// Reason for which a text is not a valid invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The text does not begin with the prefix of an invitation.
    #[error("this is not an invitation: one begins with '{HEAD}'. Nothing was joined")]
    NotOne,
    /// The text has the prefix, but the rest is incomplete or damaged.
    #[error(
        "the invitation is not complete, or a character of it is wrong. Copy it again; nothing was joined"
    )]
    Damaged,
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = postcard::to_stdvec(self).map_err(|_| fmt::Error)?;
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(&check.as_bytes()[..4]);
        // Upper-case letters and digits alone make a smaller QR code.
        write!(f, "{}{}", HEAD.to_uppercase(), BASE32_NOPAD.encode(&bytes))
    }
}

impl FromStr for Invite {
    type Err = InviteError;
    fn from_str(text: &str) -> Result<Self, InviteError> {
        let text: String = text
            .chars()
            .take(MAX_TEXT + 1)
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_ascii_uppercase())
            .collect();
        let body = text.strip_prefix(&HEAD.to_uppercase()).ok_or(InviteError::NotOne)?;
        let bytes = BASE32_NOPAD.decode(body.as_bytes()).map_err(|_| InviteError::Damaged)?;
        let (bytes, check) = bytes.split_last_chunk::<4>().ok_or(InviteError::Damaged)?;
        if blake3::hash(bytes).as_bytes()[..4] != *check {
            return Err(InviteError::Damaged);
        }
        let invite: Self = postcard::from_bytes(bytes).map_err(|_| InviteError::Damaged)?;
        let name = invite.group.name.chars().count();
        let is_fine = (1..=MAX_NAME).contains(&name)
            && !invite.group.name.chars().any(char::is_control)
            && invite.addresses.len() <= MAX_ADDRESSES;
        if is_fine { Ok(invite) } else { Err(InviteError::Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn invite() -> Invite {
        let address = "/ip4/192.168.1.20/udp/4170/quic-v1".to_owned();
        Invite {
            group: Group { name: "home".to_owned(), secret: [7; 32] },
            node: NodeId([1; 32]),
            addresses: vec![address],
        }
    }

    #[test]
    fn an_invitation_can_be_read_aloud_and_typed() {
        let text = invite().to_string();
        assert!(text.len() < 220, "{}", text.len());
        assert_eq!(text.to_lowercase().parse(), Ok(invite()));
        let spaced: String = text.chars().flat_map(|c| [c, ' ']).collect();
        assert_eq!(spaced.parse(), Ok(invite()));
    }

    #[test]
    fn a_proof_is_of_one_member_to_one_other() {
        let group = invite().group.clone();
        let (a, b, c) = (NodeId([1; 32]), NodeId([2; 32]), NodeId([3; 32]));
        let proof = group.proof(a, b);
        assert!(group.accepts(proof, a, b));
        for (member, to) in [(b, a), (a, c), (c, b)] {
            assert!(!group.accepts(proof, member, to));
        }
        assert!(!Group { name: "home".to_owned(), secret: [8; 32] }.accepts(proof, a, b));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,300}") {
            let _ = text.parse::<Invite>();
            let _ = format!("FOG1{text}").parse::<Invite>();
        }

        #[test]
        fn one_wrong_character_is_noticed(at in 4usize..100, with in "[A-Z2-7]") {
            let mut text = invite().to_string();
            let before = text.clone();
            text.replace_range(at..=at, &with);
            prop_assert!(text == before || text.parse::<Invite>().is_err());
        }
    }
}
