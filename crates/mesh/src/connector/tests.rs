use super::*;
use crate::Roles;

const SECOND: Duration = Duration::from_secs(1);

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn member(n: u8, roles: Roles) -> Member {
    Member {
        node: node(n),
        roles,
        operator: "o".to_owned(),
        region: format!("region {n}"),
        addresses: vec![format!("/ip4/127.0.0.1/tcp/{}", 4000 + u16::from(n))],
        capacity_bytes: 0,
        state: MemberState::Active,
    }
}

fn storage(n: u8) -> Member {
    member(n, Roles { storage: true, ..Roles::default() })
}

fn gateway(n: u8) -> Member {
    member(n, Roles { gateway: true, ..Roles::default() })
}

fn seed(n: u8) -> Member {
    member(n, Roles { storage: true, bootstrap: true, ..Roles::default() })
}

fn targets(dials: &[Dial]) -> Vec<Target> {
    dials.iter().map(|dial| dial.target.clone()).collect()
}

fn nodes(ids: &[u8]) -> Vec<Target> {
    ids.iter().map(|id| Target::Node(node(*id))).collect()
}

#[test]
fn a_gateway_dials_every_storage_node_and_no_other_gateway() {
    let now = Instant::now();
    let mut connector = Connector::new(node(9), String::new(), vec![]);
    let members: Vec<Member> = (1..=5).map(storage).chain([gateway(9), gateway(8)]).collect();
    connector.set_members(&members, now);
    assert_eq!(targets(&connector.due(now)), nodes(&[1, 2, 3, 4, 5]));
    assert!(connector.due(now).is_empty(), "each is dialled once");
}

#[test]
fn a_node_keeps_three_connections_and_prefers_bootstrap_members() {
    let now = Instant::now();
    let mut connector = Connector::new(node(1), String::new(), vec![]);
    connector.set_members(&[storage(1), storage(2), storage(3), seed(4), seed(5)], now);
    let first = connector.due(now);
    assert_eq!(targets(&first), nodes(&[4, 5, 2]));
    for dial in &first {
        let Target::Node(node) = dial.target else { panic!("{dial:?}") };
        connector.connected(node, now);
    }
    assert!(connector.due(now + 60 * SECOND).is_empty());
    assert_eq!(connector.next_due(), None);
    connector.disconnected(node(4), now + 60 * SECOND, 0.0);
    assert_eq!(targets(&connector.due(now + 61 * SECOND)), nodes(&[4]));
}

#[test]
fn configured_peers_come_first_by_priority_then_region() {
    let now = Instant::now();
    let bootstrap = |port: u16, priority, near| Bootstrap {
        address: format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap(),
        priority,
        near,
    };
    let peers = vec![bootstrap(1, 1, true), bootstrap(2, 0, false), bootstrap(3, 0, true)];
    let mut connector = Connector::new(node(1), String::new(), peers);
    connector.set_members(&[storage(1), seed(2)], now);
    let address = |port| Target::Address(format!("/ip4/10.0.0.1/tcp/{port}"));
    assert_eq!(targets(&connector.due(now)), vec![address(3), address(2), address(1)]);
}

#[test]
fn failures_back_off_exponentially_up_to_a_bound_and_a_stable_connection_resets_them() {
    let mut now = Instant::now();
    let mut connector = Connector::new(node(9), String::new(), vec![]);
    connector.set_members(&[gateway(9), storage(1)], now);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let dial = connector.due(now).pop().unwrap();
        connector.failed(&dial.target, now, 1.0);
        let next = connector.next_due().unwrap();
        assert!(connector.due(next.checked_sub(Duration::from_millis(1)).unwrap()).is_empty());
        waits.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    connector.due(now);
    connector.connected(node(1), now);
    now += STABLE_AFTER;
    connector.disconnected(node(1), now, 1.0);
    assert_eq!(connector.next_due(), Some(now + BACKOFF_MIN));
}

#[test]
fn a_peer_that_hangs_up_at_once_is_not_hammered() {
    let mut now = Instant::now();
    let mut connector = Connector::new(node(9), String::new(), vec![]);
    connector.set_members(&[gateway(9), storage(1)], now);
    for _ in 0..8 {
        assert_eq!(connector.due(now).len(), 1);
        connector.connected(node(1), now);
        connector.disconnected(node(1), now, 0.0);
        now = connector.next_due().unwrap();
    }
    connector.due(now);
    connector.connected(node(1), now);
    connector.disconnected(node(1), now, 0.0);
    assert!(connector.next_due().unwrap() >= now + 10 * SECOND);
}

#[test]
fn among_equals_the_better_success_rate_goes_first() {
    let mut now = Instant::now();
    let mut connector = Connector::new(node(1), String::new(), vec![]);
    connector.set_members(&[storage(1), storage(2), storage(3), storage(4), storage(5)], now);
    // 2 fails until its back-off is the longest, then everybody is due again.
    let first = connector.due(now);
    assert_eq!(targets(&first), nodes(&[2, 3, 4]));
    connector.failed(&first[0].target, now, 0.0);
    connector.connected(node(3), now);
    connector.connected(node(4), now);
    now += 60 * SECOND;
    assert_eq!(targets(&connector.due(now)), nodes(&[5]));
}

#[test]
fn a_new_address_is_tried_at_once_and_a_removed_member_never() {
    let now = Instant::now();
    let mut connector = Connector::new(node(9), String::new(), vec![]);
    connector.set_members(&[gateway(9), storage(1), storage(2)], now);
    for dial in connector.due(now) {
        for _ in 0..5 {
            connector.failed(&dial.target, now, 1.0);
        }
    }
    assert!(connector.due(now).is_empty());
    let mut moved = storage(1);
    moved.addresses = vec!["/ip4/127.0.0.1/tcp/5001".to_owned()];
    let mut removed = storage(2);
    removed.state = MemberState::Removed;
    connector.set_members(&[gateway(9), moved, removed], now);
    assert_eq!(targets(&connector.due(now)), nodes(&[1]));
    assert!(targets(&connector.due(now + 60 * SECOND)).is_empty());
}

#[test]
fn nothing_is_due_in_the_past_while_dials_are_under_way() {
    let now = Instant::now();
    let mut node_side = Connector::new(node(100), String::new(), vec![]);
    node_side.set_members(&(1..=10).map(storage).collect::<Vec<_>>(), now);
    assert_eq!(node_side.due(now).len(), CONNECTIONS_MIN);
    assert_eq!(node_side.next_due(), None);
    let mut gateway_side = Connector::new(node(100), String::new(), vec![]);
    let members: Vec<Member> = (1..=50).map(storage).chain([gateway(100)]).collect();
    gateway_side.set_members(&members, now);
    assert_eq!(gateway_side.due(now).len(), DIALS_MAX);
    assert_eq!(gateway_side.next_due(), None);
}

#[test]
fn an_address_that_led_to_a_connected_node_is_not_dialled_again_until_the_node_is_gone() {
    let now = Instant::now();
    let address: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
    let bootstrap = Bootstrap { address: address.clone(), priority: 0, near: false };
    let mut connector = Connector::new(node(1), String::new(), vec![bootstrap]);
    let mut other = storage(2);
    other.addresses.clear();
    connector.set_members(&[storage(1), other], now);
    let dial = connector.due(now).pop().unwrap();
    connector.led_to(&dial.target, node(2), now);
    connector.connected(node(2), now);
    assert!(connector.due(now + 600 * SECOND).is_empty());
    connector.disconnected(node(2), now + 600 * SECOND, 1.0);
    assert_eq!(targets(&connector.due(now + 601 * SECOND)), [dial.target]);
}
