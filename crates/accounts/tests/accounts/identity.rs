//! Registration, login, and keys through a session.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use datamesh_accounts::{
    AccountMail, AccountStatus, IdentityError, KeyStatus, LoginSession, MailText, NewKey, NewRegistration,
    Proof, Secret, VerificationLevel, login_text,
};

use super::*;

pub const PASSWORD: &str = "correct horse battery";

pub fn registration(email: &str, plan: &str) -> NewRegistration {
    NewRegistration {
        email: email.into(),
        name: "Ann".into(),
        plan: plan.into(),
        password: Some(Secret::new(PASSWORD.into())),
        public_key: None,
    }
}

pub fn password(text: &str) -> Proof {
    Proof::Password(Secret::new(text.into()))
}

/// The letters that are due, as sent.
pub async fn letters(accounts: &Accounts) -> Vec<AccountMail> {
    let letters = accounts.take_mails(100).await.unwrap();
    for letter in &letters {
        accounts.mailed(&letter.id).await.unwrap();
    }
    letters
}

pub async fn register(accounts: &Accounts, new: NewRegistration) -> User {
    accounts.register(new).await.unwrap();
    let token = letters(accounts).await.remove(0).into_token().unwrap();
    accounts.verify_registration(token.expose()).await.unwrap()
}

pub async fn session(accounts: &Accounts, user: &str) -> LoginSession {
    let login = accounts.login(user, password(PASSWORD)).await.unwrap();
    accounts.login_session(login.token.expose()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_makes_an_account_once_and_not_for_long() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        accounts.register(registration(" a@example.org ", "free")).await.unwrap();
        assert_eq!(
            accounts.list_users(None, 10).await.unwrap(),
            [],
            "nothing before the address is verified"
        );
        let letter = letters(&accounts).await.remove(0);
        assert_eq!((letter.email.as_str(), letter.attempts), ("a@example.org", 0));
        assert_eq!(letters(&accounts).await, [], "a letter is sent once");
        let token = letter.into_token().unwrap();
        let mut forged = token.expose().to_owned();
        forged.replace_range(..1, if forged.starts_with('A') { "B" } else { "A" });
        for bad in ["", "nonsense", &forged, &token.expose()[1..]] {
            assert!(matches!(accounts.verify_registration(bad).await, Err(IdentityError::BadToken)), "{bad}");
        }
        let user = accounts.verify_registration(token.expose()).await.unwrap();
        assert_eq!((user.email.as_str(), user.name.as_str()), ("a@example.org", "Ann"));
        assert_eq!((user.plan.as_str(), user.status), ("free", AccountStatus::Active));
        assert_eq!(accounts.find_user("A@EXAMPLE.ORG").await.unwrap(), Some(user));
        let again = accounts.verify_registration(token.expose()).await;
        assert!(matches!(again, Err(IdentityError::BadToken)));

        accounts.register(registration("b@example.org", "free")).await.unwrap();
        let late = letters(&accounts).await.remove(0).into_token().unwrap();
        fixture.clock.advance(Duration::from_hours(24));
        assert!(matches!(accounts.verify_registration(late.expose()).await, Err(IdentityError::BadToken)));
        fixture.clock.advance(Duration::from_hours(2));
        accounts.forget_logins().await.unwrap();
        assert_eq!(fixture.rows("SELECT COUNT(*) FROM registration").await[0].int(0).unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_an_account_is_told_so_in_its_letter_alone() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = register(&accounts, registration("a@example.org", "free")).await;
        accounts.register(registration("A@example.org", "free")).await.unwrap();
        let letter = letters(&accounts).await.remove(0);
        assert_eq!((letter.email.as_str(), letter.text), ("A@example.org", MailText::HasAccount));

        // Two letters with tokens for one address make one account.
        for _ in 0..2 {
            accounts.register(registration("b@example.org", "free")).await.unwrap();
        }
        let tokens: Vec<_> =
            letters(&accounts).await.into_iter().map(|letter| letter.into_token().unwrap()).collect();
        accounts.verify_registration(tokens[0].expose()).await.unwrap();
        let second = accounts.verify_registration(tokens[1].expose()).await;
        assert!(matches!(second, Err(IdentityError::BadToken)), "{second:?}");
        assert_eq!(accounts.list_users(None, 10).await.unwrap().len(), 2);

        // However often somebody asks, an address gets three letters an hour, and the answer is the same.
        for _ in 0..5 {
            accounts.register(registration("c@example.org", "free")).await.unwrap();
        }
        assert_eq!(letters(&accounts).await.len(), 3);
        fixture.clock.advance(Duration::from_mins(61));
        accounts.register(registration("c@example.org", "free")).await.unwrap();
        assert_eq!(letters(&accounts).await.len(), 1);
        assert!(accounts.user(user.id).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_send_each_letter_once_and_a_failed_one_again() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let gateways = [fixture.gateway().await, fixture.gateway().await];
        for number in 0..20 {
            let new = registration(&format!("{number}@example.org"), "free");
            gateways[0]
                .register(NewRegistration { password: None, public_key: Some([1; 32]), ..new })
                .await
                .unwrap();
        }
        let takers = (0..8).map(|taker| {
            let accounts = gateways[taker % 2].clone();
            tokio::spawn(async move { accounts.take_mails(5).await.unwrap() })
        });
        let taken = futures::future::join_all(takers.collect::<Vec<_>>()).await;
        let mut taken: Vec<_> = taken.into_iter().flat_map(Result::unwrap).map(|mail| mail.email).collect();
        taken.extend(gateways[0].take_mails(100).await.unwrap().into_iter().map(|mail| mail.email));
        let count = taken.len();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!((count, taken.len()), (20, 20), "a letter was taken twice, or by nobody");
        // Whoever took them died: after a minute they are due again.
        fixture.clock.advance(Duration::from_secs(61));
        let mail = gateways[1].take_mails(1).await.unwrap().remove(0);
        gateways[1].postpone_mail(&mail.id, Duration::from_mins(10)).await.unwrap();
        fixture.clock.advance(Duration::from_mins(9));
        let due = gateways[0].take_mails(100).await.unwrap();
        assert!(due.len() == 19 && due.iter().all(|other| other.id != mail.id));
        fixture.clock.advance(Duration::from_secs(61));
        let due = gateways[0].take_mails(100).await.unwrap();
        assert_eq!(due.iter().find(|other| other.id == mail.id).unwrap().attempts, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_kept_nowhere() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let refused = [
            (registration("no address", "free"), "email: "),
            (registration("a@example.org", "unlimited"), "\"unlimited\" is not open"),
            (registration("a@example.org", "gold"), "\"gold\" is not open"),
            (NewRegistration { password: None, ..registration("a@example.org", "free") }, "password: "),
            (NewRegistration { name: "x".repeat(257), ..registration("a@example.org", "free") }, "name: "),
            (
                NewRegistration {
                    password: Some(Secret::new("short".into())),
                    ..registration("a@example.org", "free")
                },
                "password: expected 10",
            ),
        ];
        for (new, reason) in refused {
            let error = accounts.register(new).await.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(fixture.rows("SELECT COUNT(*) FROM registration").await[0].int(0).unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_a_session_that_ends() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = register(&accounts, registration("a@example.org", "free")).await;
        let id = user.id.to_string();
        for (name, proof) in [
            ("a@example.org", password("another horse battery")),
            ("a@example.org", password("")),
            ("nobody@example.org", password(PASSWORD)),
            ("00000000000000000000000000000000", password(PASSWORD)),
        ] {
            let refused = accounts.login(name, proof).await.unwrap_err();
            assert!(matches!(refused, IdentityError::BadLogin), "{name}: {refused}");
        }
        for name in ["a@example.org", "A@example.org", &id] {
            let login = accounts.login(name, password(PASSWORD)).await.unwrap();
            assert_eq!(login.account, user.id);
            assert!(!format!("{login:?}").contains(login.token.expose()));
        }
        let login = accounts.login(&id, password(PASSWORD)).await.unwrap();
        let other_gateway = fixture.gateway().await;
        let session = other_gateway.login_session(login.token.expose()).await.unwrap();
        assert_eq!((session.account, session.level), (user.id, VerificationLevel::Email));
        accounts.logout(login.token.expose()).await.unwrap();
        let ended = other_gateway.login_session(login.token.expose()).await;
        assert!(matches!(ended, Err(IdentityError::NoSession)));
        let login = accounts.login(&id, password(PASSWORD)).await.unwrap();
        fixture.clock.advance(Duration::from_hours(1));
        let over = accounts.login_session(login.token.expose()).await;
        assert!(matches!(over, Err(IdentityError::NoSession)));
        // An account that an operator made has no password, and none opens it.
        accounts.create_user("op@example.org", "", "free").await.unwrap();
        let refused = accounts.login("op@example.org", password(PASSWORD)).await;
        assert!(matches!(refused, Err(IdentityError::BadLogin)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_opens_a_session_once_for_its_challenge() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let public_key = pair.public_key().as_ref().try_into().unwrap();
        let new = registration("a@example.org", "free");
        register(&accounts, NewRegistration { password: None, public_key: Some(public_key), ..new }).await;
        let user = "a@example.org";
        let sign = |name: &str, challenge: &str| Proof::Signature {
            challenge: challenge.to_owned(),
            signature: pair.sign(login_text(name, challenge).as_bytes()).as_ref().to_vec(),
        };
        let login =
            async |name: &str, proof: Proof| accounts.login(name, proof).await.map(|login| login.account);
        let challenge = accounts.login_challenge().unwrap();
        login(user, sign(user, &challenge)).await.unwrap();
        login(user, sign(user, &challenge)).await.unwrap_err();
        let challenge = accounts.login_challenge().unwrap();
        login(user, sign("b@example.org", &challenge)).await.unwrap_err();
        login("b@example.org", sign("b@example.org", &challenge)).await.unwrap_err();
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let signature = other.sign(login_text(user, &challenge).as_bytes()).as_ref().to_vec();
        login(user, Proof::Signature { challenge: challenge.clone(), signature }).await.unwrap_err();
        login(user, Proof::Signature { challenge: challenge.clone(), signature: vec![] }).await.unwrap_err();
        login(user, sign(user, "made up")).await.unwrap_err();
        login(user, password(PASSWORD)).await.unwrap_err();
        // None of the failures used it up; time does.
        login(user, sign(user, &challenge)).await.unwrap();
        let challenge = accounts.login_challenge().unwrap();
        fixture.clock.advance(Duration::from_mins(2));
        login(user, sign(user, &challenge)).await.unwrap_err();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_takes_as_long_for_nobody_as_for_somebody() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        register(&accounts, registration("a@example.org", "free")).await;
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..24 {
            let name = ["a@example.org", "nobody@example.org"][round % 2];
            let start = std::time::Instant::now();
            accounts.login(name, password("a wrong password")).await.unwrap_err();
            times[round % 2].push(start.elapsed());
        }
        // The quickest of a dozen has least of what else the machine does.
        let [somebody, nobody] = times.map(|times| times.into_iter().min().unwrap().as_secs_f64());
        // A login without its hash would be a hundred times quicker; a busy machine is not.
        assert!((0.1..10.0).contains(&(nobody / somebody)), "{nobody} against {somebody}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_manage_the_keys_of_their_own_account_and_no_others() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        register(&accounts, registration("a@example.org", "free")).await;
        register(&accounts, registration("b@example.org", "free")).await;
        let (one, other) =
            (session(&accounts, "a@example.org").await, session(&accounts, "b@example.org").await);
        let policy = r#"{"Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}}"#;
        let limited = NewKey { policy: Some(policy.to_owned()), ..NewKey::default() };
        let key = accounts.create_own_key(&one, limited).await.unwrap();
        let id = key.access_key_id.as_str();
        assert_eq!(accounts.list_own_keys(&other).await.unwrap(), []);
        for refused in [
            accounts.rotate_own_key(&other, id, Duration::ZERO).await.map(drop),
            accounts.revoke_own_key(&other, id).await,
            accounts.revoke_own_key(&one, "AKIANOTTHERE").await,
        ] {
            let missing = AccountsError::NoSuchAccessKey { access_key_id: String::new() };
            let Err(IdentityError::Accounts(error)) = refused else { panic!("{refused:?}") };
            assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&missing));
        }

        // Rotated: both work for a while, with the same rights; then the old one is over on every gateway.
        let second = fixture.gateway().await;
        let works = async |id: &str| second.lookup(id).await.unwrap().is_some();
        let new = accounts.rotate_own_key(&one, id, Duration::from_mins(10)).await.unwrap();
        assert!(works(id).await && works(&new.access_key_id).await);
        let found = second.lookup(&new.access_key_id).await.unwrap().unwrap();
        assert_eq!((found.account, found.policy.is_some()), (one.account, true));
        let statuses = async || {
            let keys = accounts.list_own_keys(&one).await.unwrap();
            let status = |id: &str| keys.iter().find(|key| key.access_key_id == id).unwrap().status;
            (status(id), status(&new.access_key_id))
        };
        assert_eq!(statuses().await, (KeyStatus::Rotating, KeyStatus::Active));
        let twice = accounts.rotate_own_key(&one, id, Duration::from_mins(10)).await;
        assert!(twice.is_err(), "an old key cannot be prolonged");
        fixture.clock.advance(Duration::from_mins(10) + Duration::from_secs(5));
        assert!(!works(id).await && works(&new.access_key_id).await);
        assert_eq!(statuses().await, (KeyStatus::Revoked, KeyStatus::Active));

        // Revoked: dead on every gateway within five seconds.
        accounts.revoke_own_key(&one, &new.access_key_id).await.unwrap();
        fixture.clock.advance(Duration::from_secs(5));
        assert!(!works(&new.access_key_id).await);
        for _ in 0..16 {
            accounts.create_own_key(&one, NewKey::default()).await.unwrap();
        }
        let full = accounts.create_own_key(&one, NewKey::default()).await;
        assert!(matches!(full, Err(IdentityError::TooManyKeys { maximum: 16 })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_registration_is_readable_in_the_database() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        accounts.register(registration("hidden@example.org", "free")).await.unwrap();
        let token = letters(&accounts).await.remove(0).into_token().unwrap();
        let kept = format!("{:?}", fixture.rows("SELECT * FROM registration").await);
        accounts.add_kek().unwrap();
        accounts.rotate_kek().await.unwrap();
        accounts.retire_kek().await.unwrap();
        accounts.verify_registration(token.expose()).await.unwrap();
        let login = accounts.login("hidden@example.org", password(PASSWORD)).await.unwrap();
        let stored = format!(
            "{kept}{:?}{:?}",
            fixture.rows("SELECT * FROM account").await,
            fixture.rows("SELECT * FROM login_session").await,
        );
        // Bytes are printed as numbers.
        let numbers = |text: &str| format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_owned();
        for secret in ["hidden@example.org", PASSWORD, token.expose(), login.token.expose()] {
            assert!(!stored.contains(secret) && !stored.contains(&numbers(secret)), "{secret} in {stored}");
        }
    })
    .await;
}
