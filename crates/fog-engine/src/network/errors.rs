//! Errors of commands about networks.

use crate::errors::errors;

errors! {
    /// An error of a command about networks.
    NetworkError, "network" {
        NoKeyToJoin => Storage,
        NoKeyToInvite => Storage,
        BadInvitation { why: String } => BadInput,
        OwnInvitation => Conflict,
        NoneJoined => NotFound,
        NotJoined { name: String } => NotFound,
        GroupNotStored => Storage,
        NeedsNoInvitation { name: String } => BadInput,
        BadGroupName { most: usize } => BadInput,
    }
}
