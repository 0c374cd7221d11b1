//! Policy that decides whose jobs this node takes.

use fog_types::NodeId;

use crate::message::{Capacity, Decline, TaskOffer};

/// Relation of this node to another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// The other node shares no network or group with this one.
    Stranger,
    /// Both nodes joined the open network.
    Open,
    /// Both nodes joined the same local network.
    Lan,
    /// Both nodes are members of the group of this name.
    Group(String),
}

/// Settings of the owner of this device about jobs of other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPolicy {
    /// Whether jobs from the open network are taken too, not only from trusted groups and the local
    /// network.
    pub from_anyone: bool,
    /// Requesters, tags and modules whose jobs are taken from the open network even without `from_anyone`.
    pub allow: Vec<String>,
    /// Requesters, tags and modules whose jobs are never taken; takes precedence over everything else.
    pub deny: Vec<String>,
}

impl HostPolicy {
    fn names(list: &[String], offer: &TaskOffer) -> bool {
        let (requester, module) = (offer.requester.to_string(), offer.module.blob.to_string());
        list.iter().any(|word| *word == requester || *word == module || offer.tags.contains(word))
    }

    /// Checks whether this node takes an offer now; the signature was checked before.
    ///
    /// # Errors
    /// The reason with which the offer is declined.
    pub fn consider(
        &self,
        offer: &TaskOffer,
        relation: &Relation,
        me: NodeId,
        lends: &Capacity,
    ) -> Result<(), Decline> {
        if offer.worker != me || offer.left_ms == 0 {
            return Err(Decline::Malformed);
        }
        let is_welcome = match relation {
            Relation::Group(_) | Relation::Lan => true,
            Relation::Open => self.from_anyone || Self::names(&self.allow, offer),
            Relation::Stranger => false,
        };
        if !is_welcome || Self::names(&self.deny, offer) {
            return Err(Decline::NotWelcome);
        }
        if lends.duty == 0 {
            return Err(Decline::Resting);
        }
        if lends.free == 0 {
            return Err(Decline::Full);
        }
        // An offer may have many inputs, so they are checked only if nothing else speaks against it.
        if offer.check().is_err() {
            return Err(Decline::Malformed);
        }
        let files: u64 = offer.contents().map(|content| content.size).sum();
        let needs = files.saturating_add(offer.file.limits.disk.0);
        // Files that a task writes are held in memory first, so the footprint includes them.
        if offer.file.limits.footprint().0 > lends.memory || needs > lends.disk {
            return Err(Decline::Full);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Content, ContentId, ContentKey};
    use crate::message::LeaseId;
    use fog_types::job::JobFile;
    use fog_types::{BlobId, ByteCount};

    const ME: NodeId = NodeId([2; 32]);

    fn offer() -> TaskOffer {
        TaskOffer {
            lease: LeaseId([9; 16]),
            requester: NodeId([1; 32]),
            worker: ME,
            file: JobFile::for_module("primes", "module.wasm"),
            module: Content {
                id: ContentId([1; 32]),
                blob: BlobId([5; 32]),
                size: 3,
                key: ContentKey([4; 32]),
            },
            stdin: None,
            inputs: Vec::new(),
            checkpoint: None,
            left_ms: 100,
            tags: vec!["maths".to_owned()],
            holders: Vec::new(),
            price_tenths: 10,
            has_bonus: false,
        }
    }

    fn lends() -> Capacity {
        Capacity { slots: 2, free: 1, memory: 4 << 30, disk: 8 << 30, duty: 100, ..Capacity::default() }
    }

    #[test]
    fn trusted_groups_and_the_local_network_only_unless_the_owner_says_otherwise() {
        let policy = HostPolicy::default();
        let ask = |policy: &HostPolicy, relation| policy.consider(&offer(), &relation, ME, &lends());
        assert_eq!(ask(&policy, Relation::Group("home".to_owned())), Ok(()));
        assert_eq!(ask(&policy, Relation::Lan), Ok(()));
        assert_eq!(ask(&policy, Relation::Open), Err(Decline::NotWelcome));
        let open = HostPolicy { from_anyone: true, ..HostPolicy::default() };
        assert_eq!(ask(&open, Relation::Open), Ok(()));
        assert_eq!(ask(&open, Relation::Stranger), Err(Decline::NotWelcome));
        for word in ["maths".to_owned(), offer().requester.to_string(), offer().module.blob.to_string()] {
            let allowing = HostPolicy { allow: vec![word.clone()], ..HostPolicy::default() };
            assert_eq!(ask(&allowing, Relation::Open), Ok(()));
            let denying = HostPolicy { from_anyone: true, allow: vec![word.clone()], deny: vec![word] };
            assert_eq!(ask(&denying, Relation::Lan), Err(Decline::NotWelcome));
        }
    }

    #[test]
    fn an_offer_that_cannot_be_taken_now_is_declined_before_its_inputs_are_looked_at() {
        let policy = HostPolicy::default();
        let wrong = TaskOffer { tags: vec![String::new(); 10_000], ..offer() };
        assert!(wrong.check().is_err());
        let ask = |lends| policy.consider(&wrong, &Relation::Lan, ME, &lends);
        assert_eq!(ask(lends()), Err(Decline::Malformed));
        assert_eq!(ask(Capacity { free: 0, ..lends() }), Err(Decline::Full));
        assert_eq!(ask(Capacity { duty: 0, ..lends() }), Err(Decline::Resting));
    }

    #[test]
    fn what_does_not_fit_is_declined() {
        let policy = HostPolicy::default();
        for (lends, why) in [
            (Capacity { free: 0, ..lends() }, Decline::Full),
            (Capacity { duty: 0, ..lends() }, Decline::Resting),
            (Capacity { memory: 1, ..lends() }, Decline::Full),
            (Capacity { disk: 1, ..lends() }, Decline::Full),
        ] {
            assert_eq!(policy.consider(&offer(), &Relation::Lan, ME, &lends), Err(why));
        }
        let mut large = offer();
        large.file.limits.memory = ByteCount::mib(2);
        large.file.limits.disk = ByteCount(4 << 30);
        assert_eq!(
            policy.consider(&large, &Relation::Lan, ME, &lends()),
            Err(Decline::Full),
            "4 GiB of files are 4 GiB of memory"
        );
        assert_eq!(
            policy.consider(&offer(), &Relation::Lan, NodeId([3; 32]), &lends()),
            Err(Decline::Malformed)
        );
        let late = TaskOffer { left_ms: 0, ..offer() };
        assert_eq!(policy.consider(&late, &Relation::Lan, ME, &lends()), Err(Decline::Malformed));
    }
}
