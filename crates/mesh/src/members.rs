//! The map in force, and the way a newer one takes its place.

use std::collections::HashMap;
use std::sync::Arc;

use datamesh_types::NodeId;
use tokio::sync::watch;

use crate::{MapError, Member, NetworkMap, OperatorId, SignedMap};

/// The map in force, looked up by node.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) signed: Arc<SignedMap>,
    pub(crate) map: Arc<NetworkMap>,
    index: HashMap<NodeId, usize>,
}

impl Members {
    fn new(signed: SignedMap, map: NetworkMap) -> Self {
        let index = map.members.iter().enumerate().map(|(at, member)| (member.node, at)).collect();
        Self { signed: Arc::new(signed), map: Arc::new(map), index }
    }

    /// The member, unless it was removed.
    pub(crate) fn admitted(&self, node: NodeId) -> Option<&Member> {
        self.index.get(&node).map(|at| &self.map.members[*at]).filter(|member| member.admitted())
    }

    /// Whether the node may change what others store.
    pub(crate) fn is_gateway(&self, node: NodeId) -> bool {
        self.admitted(node).is_some_and(|member| member.roles.gateway)
    }

    /// Whether the node stores shards.
    pub(crate) fn is_storage(&self, node: NodeId) -> bool {
        self.admitted(node).is_some_and(|member| member.roles.storage)
    }
}

/// Decides which map is in force. Every part of the host follows it.
#[derive(Debug)]
pub(crate) struct MemberList {
    trusted: Vec<OperatorId>,
    required: usize,
    current: watch::Sender<Arc<Members>>,
    /// The same, for those outside of the mesh.
    maps: watch::Sender<Arc<NetworkMap>>,
}

impl MemberList {
    /// Starts from a map that is signed well.
    pub(crate) fn new(
        signed: SignedMap,
        trusted: Vec<OperatorId>,
        required: usize,
    ) -> Result<Self, MapError> {
        let map = signed.verify_quorum(&trusted, required)?;
        let members = Arc::new(Members::new(signed, map));
        let maps = watch::Sender::new(Arc::clone(&members.map));
        Ok(Self { trusted, required, current: watch::Sender::new(members), maps })
    }

    pub(crate) fn current(&self) -> Arc<Members> {
        Arc::clone(&self.current.borrow())
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.current.borrow().map.epoch
    }

    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Members>> {
        self.current.subscribe()
    }

    pub(crate) fn maps(&self) -> watch::Receiver<Arc<NetworkMap>> {
        self.maps.subscribe()
    }

    /// Puts a map in force if it is signed well, of this network, and newer.
    pub(crate) fn offer(&self, signed: SignedMap) -> Result<(), MapError> {
        let map = signed.verify_quorum(&self.trusted, self.required)?;
        let mut refused = None;
        // The comparison and the switch happen under one lock: two offers never put the older one in force.
        self.current.send_if_modified(|current| {
            refused = check_successor(&current.map, &map).err();
            if refused.is_none() {
                *current = Arc::new(Members::new(signed, map));
                self.maps.send_replace(Arc::clone(&current.map));
            }
            refused.is_none()
        });
        refused.map_or(Ok(()), Err)
    }
}

fn check_successor(current: &NetworkMap, offered: &NetworkMap) -> Result<(), MapError> {
    if offered.network != current.network {
        let (offered, expected) = (offered.network.clone(), current.network.clone());
        return Err(MapError::OtherNetwork { offered, expected });
    }
    if offered.epoch <= current.epoch {
        return Err(MapError::NotNewer { offered: offered.epoch, current: current.epoch });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OperatorKey;

    #[test]
    fn only_a_newer_map_of_the_same_network_takes_effect() {
        let key = OperatorKey::generate();
        let map = |network: &str, epoch| {
            SignedMap::sign(&NetworkMap { network: network.to_owned(), epoch, members: vec![] }, &key)
        };
        let list = MemberList::new(map("a", 5), vec![key.operator_id()], 1).unwrap();
        assert_eq!(list.offer(map("a", 5)), Err(MapError::NotNewer { offered: 5, current: 5 }));
        assert_eq!(list.offer(map("a", 4)), Err(MapError::NotNewer { offered: 4, current: 5 }));
        assert!(matches!(list.offer(map("b", 6)), Err(MapError::OtherNetwork { .. })));
        let forged = SignedMap::sign(
            &NetworkMap { network: "a".to_owned(), epoch: 9, members: vec![] },
            &OperatorKey::generate(),
        );
        assert!(matches!(list.offer(forged), Err(MapError::Unsigned { .. })));
        assert_eq!(list.epoch(), 5);
        assert_eq!(list.offer(map("a", 8)), Ok(()));
        assert_eq!(list.epoch(), 8);
    }
}
