#![allow(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "tables read better with values"
)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::acl::CannedAcl;
use crate::facts::NoFacts;

const OWNER: AccountId = AccountId([1; 16]);
const WRITER: AccountId = AccountId([2; 16]);
const OTHER: AccountId = AccountId([3; 16]);

/// Who asks, in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Owner,
    Writer,
    Other,
}

const EVERYBODY: [Who; 4] = [Who::Nobody, Who::Owner, Who::Writer, Who::Other];

impl Who {
    fn caller(self) -> Caller<'static> {
        let member = |account| {
            Caller::Member(Member {
                account,
                arn: "arn:aws:iam::x:user/K",
                key_policy: None,
                session_policy: None,
            })
        };
        match self {
            Self::Nobody => Caller::Anonymous,
            Self::Owner => member(OWNER),
            Self::Writer => member(WRITER),
            Self::Other => member(OTHER),
        }
    }
}

/// A bucket and an object in it, as rules.
#[derive(Debug, Clone, Default)]
struct Scene {
    policy: Option<BucketPolicy>,
    bucket_acl: Option<Acl>,
    block: Option<PublicAccessBlock>,
    ownership: Option<Ownership>,
    object: Option<(AccountId, Option<Acl>)>,
}

fn policy(effect: &str, principal: serde_json::Value, action: &str) -> Option<BucketPolicy> {
    let text = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": effect, "Principal": principal, "Action": action,
        "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"],
    }]});
    Some(BucketPolicy::parse(&text.to_string(), "bucket", false).unwrap())
}

impl Scene {
    fn allows(&self, caller: Caller<'_>, action: Action) -> bool {
        let resource = match action.level() {
            Level::Object => ResourceName::Object("bucket", "key"),
            Level::Bucket => ResourceName::Bucket("bucket"),
            Level::Account => ResourceName::Account,
        };
        let rules = BucketRules {
            owner: OWNER,
            policy: self.policy.as_ref(),
            acl: self.bucket_acl.as_ref(),
            block: self.block,
            ownership: self.ownership,
        };
        let object =
            self.object.as_ref().map(|(owner, acl)| ObjectRules { owner: *owner, acl: acl.as_ref() });
        decide(Asked { caller, action, resource, facts: &NoFacts }, rules, object)
    }

    /// Who may, of [`EVERYBODY`].
    fn may(&self, action: Action) -> Vec<Who> {
        EVERYBODY.into_iter().filter(|who| self.allows(who.caller(), action)).collect()
    }
}

fn canned(canned: CannedAcl) -> Option<Acl> {
    Some(Acl::canned(canned, OWNER, OWNER))
}

/// An object of the bucket's owner with this list.
fn own(list: Option<CannedAcl>) -> Scene {
    Scene { object: Some((OWNER, list.and_then(canned))), ..Scene::default() }
}

/// An object that somebody else wrote, with this list.
fn foreign(list: Option<CannedAcl>) -> Scene {
    let acl = list.map(|list| Acl::canned(list, WRITER, OWNER));
    Scene { object: Some((WRITER, acl)), ..Scene::default() }
}

fn bucket_with(list: CannedAcl) -> Scene {
    Scene { bucket_acl: canned(list), ..Scene::default() }
}

const BLOCK_GROUPS: Option<PublicAccessBlock> = Some(PublicAccessBlock {
    block_public_acls: false,
    ignore_public_acls: true,
    block_public_policy: false,
    restrict_public_buckets: false,
});
const RESTRICT: Option<PublicAccessBlock> = Some(PublicAccessBlock {
    block_public_acls: false,
    ignore_public_acls: false,
    block_public_policy: false,
    restrict_public_buckets: true,
});

#[test]
#[allow(clippy::enum_glob_use, clippy::too_many_lines, reason = "a table")]
fn the_table_of_decisions() {
    use Action::*;
    use Who::*;
    let everybody = json!("*");
    let other = json!({"AWS": OTHER.to_string()});
    let get = policy("Allow", everybody.clone(), "s3:GetObject");
    let enforced = Some(Ownership::BucketOwnerEnforced);
    let table: Vec<(&str, Scene, Action, &[Who])> = vec![
        ("nothing set, bucket", Scene::default(), ListBucket, &[Owner]),
        ("nothing set, write", Scene::default(), PutObject, &[Owner]),
        ("nothing set, read", own(None), GetObject, &[Owner]),
        ("nothing set, acl", own(None), PutObjectAcl, &[Owner]),
        ("nothing set, no object", Scene::default(), GetObject, &[Owner]),
        ("public-read object", own(Some(CannedAcl::PublicRead)), GetObject, &EVERYBODY),
        ("public-read object, its list", own(Some(CannedAcl::PublicRead)), GetObjectAcl, &[Owner]),
        ("public-read object, tags", own(Some(CannedAcl::PublicRead)), GetObjectTagging, &[Owner]),
        (
            "public-read-write object is not writable",
            own(Some(CannedAcl::PublicReadWrite)),
            PutObject,
            &[Owner],
        ),
        ("authenticated-read", own(Some(CannedAcl::AuthenticatedRead)), GetObject, &[Owner, Writer, Other]),
        ("public-read bucket lists", bucket_with(CannedAcl::PublicRead), ListBucket, &EVERYBODY),
        ("public-read bucket takes no objects", bucket_with(CannedAcl::PublicRead), PutObject, &[Owner]),
        (
            "public-read bucket, private object",
            Scene { bucket_acl: canned(CannedAcl::PublicRead), ..own(None) },
            GetObject,
            &[Owner],
        ),
        ("public-read-write bucket", bucket_with(CannedAcl::PublicReadWrite), PutObject, &EVERYBODY),
        ("public-read-write deletes", bucket_with(CannedAcl::PublicReadWrite), DeleteObject, &EVERYBODY),
        ("but no versions", bucket_with(CannedAcl::PublicReadWrite), DeleteObjectVersion, &[Owner]),
        ("nor settings", bucket_with(CannedAcl::PublicReadWrite), PutBucketAcl, &[Owner]),
        ("nor policies", bucket_with(CannedAcl::PublicReadWrite), PutBucketPolicy, &[Owner]),
        ("a foreign object", foreign(None), GetObject, &[Writer]),
        ("a foreign object's list", foreign(None), PutObjectAcl, &[Writer]),
        ("a foreign object, deleted", foreign(None), DeleteObject, &[Owner]),
        ("bucket-owner-read", foreign(Some(CannedAcl::BucketOwnerRead)), GetObject, &[Owner, Writer]),
        ("bucket-owner-read, its list", foreign(Some(CannedAcl::BucketOwnerRead)), GetObjectAcl, &[Writer]),
        (
            "bucket-owner-full-control",
            foreign(Some(CannedAcl::BucketOwnerFullControl)),
            PutObjectAcl,
            &[Owner, Writer],
        ),
        (
            "ownership enforced: the writer owns nothing",
            Scene { ownership: enforced, ..foreign(None) },
            GetObject,
            &[Owner],
        ),
        (
            "ownership enforced: lists are void",
            Scene { ownership: enforced, ..foreign(Some(CannedAcl::PublicRead)) },
            GetObject,
            &[Owner],
        ),
        (
            "ownership enforced: the bucket's too",
            Scene { ownership: enforced, ..bucket_with(CannedAcl::PublicReadWrite) },
            PutObject,
            &[Owner],
        ),
        (
            "groups ignored",
            Scene { block: BLOCK_GROUPS, ..own(Some(CannedAcl::PublicRead)) },
            GetObject,
            &[Owner],
        ),
        (
            "groups ignored, bucket",
            Scene { block: BLOCK_GROUPS, ..bucket_with(CannedAcl::AuthenticatedRead) },
            ListBucket,
            &[Owner],
        ),
        (
            "groups ignored, accounts not",
            Scene { block: BLOCK_GROUPS, ..foreign(Some(CannedAcl::BucketOwnerRead)) },
            GetObject,
            &[Owner, Writer],
        ),
        ("policy for everybody", Scene { policy: get.clone(), ..own(None) }, GetObject, &EVERYBODY),
        ("policy, no object", Scene { policy: get.clone(), ..Scene::default() }, GetObject, &EVERYBODY),
        ("policy, another action", Scene { policy: get.clone(), ..own(None) }, GetObjectAcl, &[Owner]),
        ("policy and a foreign object", Scene { policy: get.clone(), ..foreign(None) }, GetObject, &[Writer]),
        (
            "policy and a foreign object, enforced",
            Scene { policy: get.clone(), ownership: enforced, ..foreign(None) },
            GetObject,
            &EVERYBODY,
        ),
        (
            "public policy, restricted",
            Scene { policy: get.clone(), block: RESTRICT, ..own(None) },
            GetObject,
            &[Owner],
        ),
        (
            "policy for one, restricted",
            Scene { policy: policy("Allow", other.clone(), "s3:GetObject"), block: RESTRICT, ..own(None) },
            GetObject,
            &[Owner, Other],
        ),
        (
            "policy for one",
            Scene { policy: policy("Allow", other.clone(), "*"), ..Scene::default() },
            PutBucketPolicy,
            &[Owner, Other],
        ),
        (
            "denied to everybody",
            Scene {
                policy: policy("Deny", everybody.clone(), "s3:GetObject"),
                ..own(Some(CannedAcl::PublicRead))
            },
            GetObject,
            &[],
        ),
        (
            "denied to one",
            Scene { policy: policy("Deny", other, "s3:*"), ..own(Some(CannedAcl::PublicRead)) },
            GetObject,
            &[Nobody, Owner, Writer],
        ),
        (
            "the owner repairs the policy",
            Scene { policy: policy("Deny", everybody.clone(), "s3:*"), ..Scene::default() },
            PutBucketPolicy,
            &[Owner],
        ),
        (
            "and nothing else",
            Scene { policy: policy("Deny", everybody, "s3:*"), ..Scene::default() },
            DeleteBucket,
            &[],
        ),
    ];
    for (name, scene, action, expected) in table {
        assert_eq!(scene.may(action), expected, "{name}");
    }
}

#[test]
fn a_policy_that_binds_its_owner_cannot_be_replaced_by_it() {
    let text = policy("Deny", json!("*"), "s3:PutBucketPolicy").unwrap().text().to_owned();
    let bound = BucketPolicy::parse(&text, "bucket", true).unwrap();
    let scene = Scene { policy: Some(bound), ..Scene::default() };
    assert_eq!(scene.may(Action::PutBucketPolicy), []);
    assert_eq!(scene.may(Action::GetBucketPolicy), [Who::Owner]);
}

#[test]
fn a_service_may_only_what_a_policy_allows_it_by_name() {
    let logger = Caller::Service("logging.s3.amazonaws.com");
    let service = json!({"Service": "logging.s3.amazonaws.com"});
    let allowed = Scene { policy: policy("Allow", service, "s3:PutObject"), ..Scene::default() };
    assert!(allowed.allows(logger, Action::PutObject));
    assert!(!allowed.allows(Caller::Service("sns.amazonaws.com"), Action::PutObject));
    assert!(!Scene::default().allows(logger, Action::PutObject));
}

fn narrowing(action: &str, resource: &str) -> Policy {
    let text = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": action, "Resource": resource},
    ]});
    Policy::for_identity(&text.to_string(), Policy::KEY_LEN_MAX).unwrap()
}

fn arbitrary_scene() -> impl Strategy<Value = Scene> {
    let lists = [
        None,
        Some(CannedAcl::Private),
        Some(CannedAcl::PublicRead),
        Some(CannedAcl::PublicReadWrite),
        Some(CannedAcl::AuthenticatedRead),
        Some(CannedAcl::BucketOwnerFullControl),
    ];
    let policies = [
        None,
        policy("Allow", json!("*"), "s3:Get*"),
        policy("Deny", json!("*"), "s3:Get*"),
        policy("Allow", json!({"AWS": OTHER.to_string()}), "*"),
    ];
    let ownership = prop::sample::select(vec![
        None,
        Some(Ownership::BucketOwnerEnforced),
        Some(Ownership::BucketOwnerPreferred),
    ]);
    let object = prop::option::of((any::<bool>(), prop::sample::select(lists.to_vec())));
    let block = prop::option::of((any::<bool>(), any::<bool>()));
    (prop::sample::select(policies.to_vec()), prop::sample::select(lists.to_vec()), ownership, object, block)
        .prop_map(|(policy, bucket, ownership, object, block)| Scene {
            policy,
            bucket_acl: bucket.and_then(canned),
            ownership,
            object: object.map(|(own, list)| {
                let owner = if own { OWNER } else { WRITER };
                (owner, list.map(|list| Acl::canned(list, owner, OWNER)))
            }),
            block: block.map(|(ignore_public_acls, restrict_public_buckets)| PublicAccessBlock {
                ignore_public_acls,
                restrict_public_buckets,
                ..PublicAccessBlock::default()
            }),
        })
}

proptest! {
    #[test]
    fn a_key_or_session_policy_only_narrows(
        scene in arbitrary_scene(),
        action in prop::sample::select(Action::ALL.to_vec()),
        account in prop::sample::select(vec![OWNER, WRITER, OTHER]),
        limit in prop::sample::select(vec![("s3:Get*", "*"), ("*", "arn:aws:s3:::bucket/*"), ("s3:PutObject", "*")]),
    ) {
        let policy = narrowing(limit.0, limit.1);
        let bare = Member { account, arn: "k", key_policy: None, session_policy: None };
        let free = scene.allows(Caller::Member(bare), action);
        for narrowed in [
            Member { key_policy: Some(&policy), ..bare },
            Member { session_policy: Some(&policy), ..bare },
        ] {
            let allowed = scene.allows(Caller::Member(narrowed), action);
            prop_assert!(free || !allowed);
            let covers = !allowed || policy.evaluate(
                Asker::Account(account, "k"),
                action,
                match action.level() {
                    Level::Object => ResourceName::Object("bucket", "key"),
                    Level::Bucket => ResourceName::Bucket("bucket"),
                    Level::Account => ResourceName::Account,
                },
                &NoFacts,
            ) == Verdict::Allowed;
            prop_assert!(covers);
        }
    }

    #[test]
    fn nobody_gets_more_than_any_account_and_nothing_without_a_public_grant(
        scene in arbitrary_scene(),
        action in prop::sample::select(Action::ALL.to_vec()),
    ) {
        if scene.allows(Caller::Anonymous, action) {
            let list_is_public = |list: &Option<Acl>| list.as_ref().is_some_and(Acl::is_public);
            let public = scene.policy.as_ref().is_some_and(BucketPolicy::is_public)
                || list_is_public(&scene.bucket_acl)
                || scene.object.as_ref().is_some_and(|(_, list)| list_is_public(list));
            prop_assert!(public);
            prop_assert!(scene.allows(Who::Other.caller(), action));
        }
    }
}
