//! The table of routes. What the guard lets through and what the audit log tells comes from here, and the router is built
//! from here, so a route can't be without either.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::{
    AdminState, abuse, accounts, audit, billing, cluster, encryption, holds, limits, maintenance, migrations,
    privacy, sandbox, service_level, usage, verification,
};

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It only reads.
    Read,
    /// It changes the accounts. The entry in the audit log is in the transaction of the change.
    Change {
        /// Whether it can be tried out.
        has_preview: bool,
    },
    /// It only reads, and what it tells is a person's: there is an entry before the answer, and only operators may.
    Disclosure,
    /// It sets something going that is more than a transaction. There is an entry before it begins, and another at its
    /// end.
    Work,
}

impl Effect {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Change { .. } => "change",
            Self::Disclosure => "disclosure",
            Self::Work => "work",
        }
    }

    /// Whether it can be tried out.
    pub const fn has_preview(self) -> bool {
        matches!(self, Self::Change { has_preview: true })
    }
}

/// A path with a method.
#[derive(Clone)]
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    /// A noun and a verb.
    pub action: &'static str,
    pub effect: Effect,
    /// Whether it is refused unless the request says why it is made.
    pub needs_reason: bool,
    pub handler: MethodRouter<AdminState>,
}

impl Route {
    /// For what destroys, moves money, or undoes what somebody was bound to.
    fn with_reason(self) -> Self {
        Self { needs_reason: true, ..self }
    }
}

fn route<H, T>(method: Method, path: &'static str, action: &'static str, effect: Effect, handler: H) -> Route
where
    H: Handler<T, AdminState>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("routes have methods that axum knows");
    Route { method, path, action, effect, needs_reason: false, handler: on(filter, handler) }
}

const READ: Effect = Effect::Read;
const CHANGE: Effect = Effect::Change { has_preview: false };
const PREVIEWED: Effect = Effect::Change { has_preview: true };
const WORK: Effect = Effect::Work;
const DISCLOSURE: Effect = Effect::Disclosure;
const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;

/// All routes that need a token.
pub(super) fn table() -> Vec<Route> {
    [of_accounts(), of_people(), of_billing(), of_the_system()].into_iter().flatten().collect()
}

/// Accounts, what they may do, and their keys.
fn of_accounts() -> Vec<Route> {
    vec![
        route(GET, "/v1/users", "user.list", READ, accounts::list_users),
        route(POST, "/v1/users", "user.create", CHANGE, accounts::create_user),
        route(GET, "/v1/users/{user}", "user.show", READ, accounts::show_user),
        route(PUT, "/v1/users/{user}/limits", "user.limits", PREVIEWED, accounts::set_limits),
        route(PUT, "/v1/users/{user}/plan", "user.plan", PREVIEWED, limits::subscribe),
        route(GET, "/v1/users/{user}/quota", "quota.show", READ, limits::show_account),
        route(PUT, "/v1/users/{user}/quota", "quota.set", PREVIEWED, limits::change_account),
        route(GET, "/v1/users/{user}/buckets/{bucket}/quota", "quota.show", READ, limits::show_bucket),
        route(PUT, "/v1/users/{user}/buckets/{bucket}/quota", "quota.set", PREVIEWED, limits::change_bucket),
        route(GET, "/v1/users/{user}/keys/{key}/quota", "quota.show", READ, limits::show_key),
        route(PUT, "/v1/users/{user}/keys/{key}/quota", "quota.set", PREVIEWED, limits::change_key),
        route(GET, "/v1/users/{user}/quota-events", "quota.events", READ, limits::events),
        route(GET, "/v1/users/{user}/holds", "user.holds", READ, holds::list),
        route(POST, "/v1/users/{user}/holds", "user.hold", PREVIEWED, holds::place),
        route(DELETE, "/v1/holds/{hold}", "user.lift", PREVIEWED, holds::lift).with_reason(),
        route(GET, "/v1/verifications", "user.cases", READ, verification::cases),
        route(POST, "/v1/users/{user}/verification", "user.verify", CHANGE, verification::decide),
        route(GET, "/v1/plans", "plan.list", READ, limits::plans),
        route(POST, "/v1/plans", "plan.apply", PREVIEWED, limits::apply_plans),
        route(GET, "/v1/migrations", "migration.list", READ, migrations::list),
        route(POST, "/v1/migrations", "migration.schedule", PREVIEWED, migrations::schedule),
        route(POST, "/v1/migrations/run", "migration.run", WORK, migrations::run),
        route(GET, "/v1/migrations/{migration}", "migration.show", READ, migrations::show),
        route(DELETE, "/v1/migrations/{migration}", "migration.cancel", PREVIEWED, migrations::cancel),
        route(POST, "/v1/quota/reconcile", "quota.reconcile", CHANGE, limits::reconcile),
        route(GET, "/v1/users/{user}/keys", "key.list", READ, accounts::list_keys),
        route(POST, "/v1/users/{user}/keys", "key.create", CHANGE, accounts::create_key),
        route(DELETE, "/v1/keys/{key}", "key.revoke", CHANGE, accounts::revoke_key).with_reason(),
        route(POST, "/v1/keys/{key}/rotate", "key.rotate", CHANGE, accounts::rotate_key),
        route(PUT, "/v1/keys/{key}/policy", "key.policy", CHANGE, accounts::set_key_policy),
        route(
            GET,
            "/v1/users/{user}/encryption-keys",
            "encryption-key.list",
            READ,
            encryption::list_named_keys,
        ),
        route(
            POST,
            "/v1/users/{user}/encryption-keys",
            "encryption-key.create",
            WORK,
            encryption::create_named_key,
        ),
    ]
}

/// What people may ask for, and how they behave.
fn of_people() -> Vec<Route> {
    vec![
        route(POST, "/v1/users/{user}/abuse", "abuse.report", PREVIEWED, abuse::report),
        route(POST, "/v1/abuse-cases/{case}/decision", "abuse.decide", PREVIEWED, abuse::decide),
        route(GET, "/v1/abuse-cases", "abuse.list", READ, abuse::list),
        route(POST, "/v1/users/{user}/privacy/export", "privacy.export", DISCLOSURE, privacy::export),
        route(POST, "/v1/users/{user}/privacy/erasure", "privacy.erase", PREVIEWED, privacy::erase)
            .with_reason(),
        route(DELETE, "/v1/users/{user}/privacy/erasure", "privacy.withdraw", PREVIEWED, privacy::withdraw)
            .with_reason(),
        route(GET, "/v1/erasures", "privacy.list", READ, privacy::list),
        route(POST, "/v1/erasures/run", "privacy.run", WORK, privacy::run),
    ]
}

/// What accounts use, and what they owe for it.
fn of_billing() -> Vec<Route> {
    vec![
        route(GET, "/v1/users/{user}/usage", "usage.show", READ, usage::show),
        route(GET, "/v1/users/{user}/usage/hours", "usage.export", READ, usage::hours),
        route(POST, "/v1/usage/verify", "usage.verify", READ, usage::verify),
        route(GET, "/v1/users/{user}/sla", "sla.show", READ, service_level::show),
        route(GET, "/v1/users/{user}/sla/windows", "sla.windows", READ, service_level::windows),
        route(GET, "/v1/prices", "price.list", READ, billing::prices),
        route(POST, "/v1/prices", "price.apply", PREVIEWED, billing::apply_prices),
        route(GET, "/v1/users/{user}/invoices", "invoice.list", READ, billing::list),
        route(POST, "/v1/invoices/run", "invoice.run", WORK, billing::run),
        route(GET, "/v1/invoices/{invoice}", "invoice.show", READ, billing::show),
        route(GET, "/v1/invoices/{invoice}/export", "invoice.export", READ, billing::export),
        route(POST, "/v1/invoices/{invoice}/finalize", "invoice.finalize", CHANGE, billing::finalize),
        route(POST, "/v1/invoices/{invoice}/credit-notes", "invoice.credit", PREVIEWED, billing::credit)
            .with_reason(),
        route(POST, "/v1/invoices/{invoice}/write-off", "invoice.write-off", PREVIEWED, billing::write_off)
            .with_reason(),
        route(POST, "/v1/invoices/{invoice}/charge", "invoice.charge", WORK, billing::charge),
        route(POST, "/v1/payments", "invoice.pay", PREVIEWED, billing::pay).with_reason(),
        route(POST, "/v1/sandbox/messages", "sandbox.answer", WORK, sandbox::answer),
        route(POST, "/v1/intents/{intent}/fail", "invoice.fail-intent", PREVIEWED, billing::fail_intent)
            .with_reason(),
    ]
}

/// The gateway's own keys, where chunks are, background work, the audit log.
fn of_the_system() -> Vec<Route> {
    vec![
        route(GET, "/v1/kek", "kek.status", READ, encryption::kek_keys),
        route(POST, "/v1/kek/add", "kek.add", WORK, encryption::add_kek),
        route(POST, "/v1/kek/rotate", "kek.rotate", WORK, encryption::rotate_kek).with_reason(),
        route(POST, "/v1/kek/retire", "kek.retire", WORK, encryption::retire_kek).with_reason(),
        route(GET, "/v1/nodes", "node.list", READ, cluster::nodes),
        route(GET, "/v1/groups", "group.list", READ, cluster::groups),
        route(GET, "/v1/repair", "repair.status", READ, cluster::repair_status),
        route(POST, "/v1/repair", "repair.run", WORK, cluster::repair),
        route(POST, "/v1/gc", "gc.run", WORK, maintenance::collect),
        route(POST, "/v1/lifecycle", "lifecycle.run", WORK, maintenance::age),
        route(POST, "/v1/inventories", "inventory.run", WORK, maintenance::write_inventories),
        route(POST, "/v1/doctor", "doctor", READ, maintenance::doctor),
        route(GET, "/v1/audit", "audit.list", READ, audit::list),
        route(GET, "/v1/audit/actions", "audit.actions", READ, audit::actions),
        route(GET, "/v1/audit/verify", "audit.verify", READ, audit::verify),
        route(GET, "/v1/audit/export", "audit.export", READ, audit::export),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_there_once_and_has_a_noun() {
        let table = table();
        for (index, route) in table.iter().enumerate() {
            let twice =
                table[..index].iter().any(|other| (&other.method, other.path) == (&route.method, route.path));
            assert!(!twice, "{} {}", route.method, route.path);
            let noun = route.action.split('.').next().unwrap();
            assert!(!noun.is_empty() && noun.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            assert!(route.path.starts_with("/v1/"));
        }
    }

    #[test]
    fn what_destroys_or_moves_money_needs_a_reason_and_what_scripts_do_every_day_does_not() {
        let table = table();
        let reasoned = |wanted| {
            let found = table.iter().filter(move |route| route.needs_reason == wanted);
            found.map(|route| route.action).collect::<BTreeSet<_>>()
        };
        let needed = reasoned(true);
        let expected = [
            "invoice.credit",
            "invoice.fail-intent",
            "invoice.pay",
            "invoice.write-off",
            "kek.retire",
            "kek.rotate",
            "key.revoke",
            "privacy.erase",
            "privacy.withdraw",
            "user.lift",
        ];
        assert_eq!(needed, BTreeSet::from(expected));
        for action in ["quota.set", "quota.reconcile", "invoice.run", "user.hold", "key.create"] {
            assert!(reasoned(false).contains(action) && !needed.contains(action), "{action}");
        }
        assert!(table.iter().all(|route| !route.needs_reason || route.effect != Effect::Read));
    }

    #[test]
    fn what_is_read_by_get_changes_nothing() {
        for route in table() {
            if route.method == Method::GET {
                assert_eq!(route.effect, Effect::Read, "{}", route.path);
            } else if route.effect == Effect::Read {
                assert!(["doctor", "usage.verify"].contains(&route.action), "{} is no GET", route.path);
            }
        }
    }
}
