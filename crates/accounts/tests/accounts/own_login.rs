//! New passwords by letter, and what people change of their login themselves.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use datamesh_accounts::{
    AccountStatus, IdentityError, MailText, NewRegistration, Proof, Secret, change_text, login_text,
};

use super::identity::{PASSWORD, letters, password, register, registration, session};
use super::*;

const ANOTHER: &str = "another horse battery";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// The token of the one letter for a password.
async fn forgotten(accounts: &Accounts, email: &str) -> Secret {
    accounts.forget_password(email).await.unwrap();
    let mut letters = letters(accounts).await;
    assert_eq!(letters.len(), 1);
    let MailText::SetsPassword(token) = letters.remove(0).text else { panic!("a letter with a token") };
    token
}

async fn opens(accounts: &Accounts, user: &str, text: &str) -> bool {
    match accounts.login(user, password(text)).await {
        Ok(_) => true,
        Err(IdentityError::BadLogin) => false,
        Err(error) => panic!("{error}"),
    }
}

fn is_bad_token<T>(result: &Result<T, IdentityError>) -> bool {
    matches!(result, Err(IdentityError::BadToken))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_sets_a_password_once_and_not_for_long_and_ends_all_sessions() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = register(&accounts, registration("a@example.org", "free")).await;
        let login = accounts.login("a@example.org", password(PASSWORD)).await.unwrap();
        let token = forgotten(&accounts, " A@example.org").await;
        accounts.login_session(login.token.expose()).await.expect("asking alone ends nothing");
        let short = accounts.reset_password(token.expose(), secret("short")).await;
        assert!(matches!(short, Err(IdentityError::Invalid { field: "password", .. })), "{short:?}");
        assert_eq!(accounts.reset_password(token.expose(), secret(ANOTHER)).await.unwrap(), user.id);
        let ended = accounts.login_session(login.token.expose()).await;
        assert!(matches!(ended, Err(IdentityError::NoSession)), "{ended:?}");
        assert!(opens(&accounts, "a@example.org", ANOTHER).await);
        assert!(!opens(&accounts, "a@example.org", PASSWORD).await);

        assert!(is_bad_token(&accounts.reset_password(token.expose(), secret(PASSWORD)).await), "used");
        let late = forgotten(&accounts, "a@example.org").await;
        fixture.clock.advance(Duration::from_hours(24));
        assert!(is_bad_token(&accounts.reset_password(late.expose(), secret(PASSWORD)).await), "expired");
        for nonsense in ["", "nonsense", &late.expose()[1..]] {
            assert!(is_bad_token(&accounts.reset_password(nonsense, secret(PASSWORD)).await), "{nonsense}");
        }
        assert!(opens(&accounts, "a@example.org", ANOTHER).await, "nothing of that changed the password");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tokens_the_first_that_is_used_makes_the_other_worthless() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        register(&accounts, registration("a@example.org", "free")).await;
        let tokens =
            [forgotten(&accounts, "a@example.org").await, forgotten(&accounts, "a@example.org").await];
        assert_ne!(tokens[0], tokens[1]);
        accounts.reset_password(tokens[1].expose(), secret(ANOTHER)).await.unwrap();
        assert!(is_bad_token(&accounts.reset_password(tokens[0].expose(), secret(PASSWORD)).await));

        // The same token from many at once is used by one of them.
        let token = Arc::new(forgotten(&accounts, "a@example.org").await);
        let tries = (0..4).map(|number| {
            let (accounts, token) = (accounts.clone(), Arc::clone(&token));
            tokio::spawn(async move {
                accounts.reset_password(token.expose(), Secret::new(format!("password {number}"))).await
            })
        });
        let results = futures::future::join_all(tries.collect::<Vec<_>>()).await;
        let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        let winner = results.iter().position(Result::is_ok).unwrap();
        assert!(opens(&accounts, "a@example.org", &format!("password {winner}")).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_an_account_leaves_the_same_row_and_gets_no_letter() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let made = accounts.create_user("op@example.org", "", "free").await.unwrap();
        for email in ["op@example.org", "nobody@example.org"] {
            accounts.forget_password(email).await.unwrap();
        }
        let rows = fixture
            .rows("SELECT purpose, name, plan, password, public_key, mails, expires_at_ms FROM registration")
            .await;
        assert_eq!(rows.len(), 2);
        assert_eq!(format!("{:?}", rows[0]), format!("{:?}", rows[1]));
        let mut due = letters(&accounts).await;
        due.sort_by(|one, other| other.email.cmp(&one.email));
        assert_eq!((due[1].email.as_str(), &due[1].text), ("nobody@example.org", &MailText::Nothing));
        assert_eq!(letters(&accounts).await, [], "what is not sent is not looked at again");

        // An account that an operator made gets its first password this way.
        let token = due.remove(0).into_token().unwrap();
        accounts.reset_password(token.expose(), secret(PASSWORD)).await.unwrap();
        assert_eq!(accounts.login("op@example.org", password(PASSWORD)).await.unwrap().account, made.id);

        // Letters for passwords and for accounts count together: three an hour.
        for _ in 0..2 {
            accounts.forget_password("op@example.org").await.unwrap();
            accounts.register(registration("op@example.org", "free")).await.unwrap();
        }
        assert_eq!(letters(&accounts).await.len(), 2);
        let refused = accounts.forget_password("no address").await;
        assert!(matches!(refused, Err(IdentityError::Invalid { field: "email", .. })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_what_its_letter_says_alone() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        register(&accounts, registration("a@example.org", "free")).await;
        let token = forgotten(&accounts, "a@example.org").await;
        assert!(is_bad_token(&accounts.verify_registration(token.expose()).await));
        accounts.register(registration("b@example.org", "free")).await.unwrap();
        let other = letters(&accounts).await.remove(0).into_token().unwrap();
        assert!(is_bad_token(&accounts.reset_password(other.expose(), secret(ANOTHER)).await));
        accounts.verify_registration(other.expose()).await.unwrap();
        accounts.reset_password(token.expose(), secret(ANOTHER)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_closing_or_erased_gets_no_token_and_its_old_one_is_worthless() {
    for_each_engine(|db| async move {
        const CLOSE: &str = "UPDATE account SET status = 'closing'";
        const ERASE: &str = "UPDATE account SET status = 'erased'";
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        register(&accounts, registration("a@example.org", "free")).await;
        for (sql, status) in [(CLOSE, AccountStatus::Closing), (ERASE, AccountStatus::Erased)] {
            fixture.execute("UPDATE account SET status = 'active'").await;
            fixture.clock.advance(Duration::from_hours(2));
            let token = forgotten(&accounts, "a@example.org").await;
            fixture.execute(sql).await;
            assert!(
                is_bad_token(&accounts.reset_password(token.expose(), secret(ANOTHER)).await),
                "{status}"
            );
            accounts.forget_password("a@example.org").await.unwrap();
            assert_eq!(letters(&accounts).await.remove(0).text, MailText::Nothing, "{status}");
        }
        fixture.execute("UPDATE account SET status = 'active'").await;
        assert!(opens(&accounts, "a@example.org", PASSWORD).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_changes_the_password_and_the_key_with_a_proof_and_ends() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = register(&accounts, registration("a@example.org", "free")).await;
        let other = register(&accounts, registration("b@example.org", "free")).await;
        let login = accounts.login("a@example.org", password(PASSWORD)).await.unwrap();
        let own = accounts.login_session(login.token.expose()).await.unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let public_key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let signed = |text: fn(AccountId, &str) -> String, account: AccountId| {
            let challenge = accounts.login_challenge().unwrap();
            let signature = pair.sign(text(account, &challenge).as_bytes()).as_ref().to_vec();
            Proof::Signature { challenge, signature }
        };
        let by_key = |account| signed(change_text, account);
        let as_login =
            |account| signed(|account, challenge| login_text(&account.to_string(), challenge), account);

        // Without the right proof nothing changes.
        for proof in [password(ANOTHER), password(""), by_key(user.id)] {
            let refused = accounts.change_password(&own, proof.clone(), secret(ANOTHER)).await;
            assert!(matches!(refused, Err(IdentityError::BadLogin)), "{refused:?}");
            let refused = accounts.change_public_key(&own, proof, Some(public_key)).await;
            assert!(matches!(refused, Err(IdentityError::BadLogin)), "{refused:?}");
        }
        accounts.login_session(login.token.expose()).await.expect("what fails ends no session");

        accounts.change_public_key(&own, password(PASSWORD), Some(public_key)).await.unwrap();
        let ended = accounts.login_session(login.token.expose()).await;
        assert!(matches!(ended, Err(IdentityError::NoSession)), "{ended:?}");
        accounts.login(&user.id.to_string(), as_login(user.id)).await.unwrap();
        for proof in [as_login(user.id), by_key(other.id)] {
            let refused = accounts.change_password(&own, proof, secret(ANOTHER)).await;
            assert!(matches!(refused, Err(IdentityError::BadLogin)), "{refused:?}");
        }
        let proof = by_key(user.id);
        accounts.change_password(&own, proof.clone(), secret(ANOTHER)).await.unwrap();
        assert!(
            opens(&accounts, "a@example.org", ANOTHER).await
                && !opens(&accounts, "a@example.org", PASSWORD).await
        );
        let again = accounts.change_password(&own, proof, secret(PASSWORD)).await;
        assert!(matches!(again, Err(IdentityError::BadLogin)), "a challenge works once");
        assert!(opens(&accounts, "b@example.org", PASSWORD).await, "nobody else's password changed");

        accounts.change_public_key(&own, password(ANOTHER), None).await.unwrap();
        let gone = accounts.login(&user.id.to_string(), as_login(user.id)).await;
        assert!(matches!(gone, Err(IdentityError::BadLogin)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_means_to_log_in_is_replaced_but_not_removed() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let pairs = [1, 2].map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap());
        let publics = pairs.each_ref().map(|pair| pair.public_key().as_ref().try_into().unwrap());
        let new = registration("a@example.org", "free");
        let user =
            register(&accounts, NewRegistration { password: None, public_key: Some(publics[0]), ..new })
                .await;
        let name = user.id.to_string();
        let sign = |pair: &Ed25519KeyPair, is_login: bool| {
            let challenge = accounts.login_challenge().unwrap();
            let text =
                if is_login { login_text(&name, &challenge) } else { change_text(user.id, &challenge) };
            let signature = pair.sign(text.as_bytes()).as_ref().to_vec();
            Proof::Signature { challenge, signature }
        };
        let login = accounts.login(&name, sign(&pairs[0], true)).await.unwrap();
        let own = accounts.login_session(login.token.expose()).await.unwrap();
        let refused = accounts.change_public_key(&own, sign(&pairs[0], false), None).await;
        assert!(matches!(refused, Err(IdentityError::LastProof)), "{refused:?}");
        accounts.login_session(login.token.expose()).await.expect("the session goes on");
        accounts.change_public_key(&own, sign(&pairs[0], false), Some(publics[1])).await.unwrap();
        accounts.login(&name, sign(&pairs[0], true)).await.unwrap_err();
        accounts.login(&name, sign(&pairs[1], true)).await.unwrap();
        // A password that is set by letter makes the key dispensable.
        let token = forgotten(&accounts, "a@example.org").await;
        accounts.reset_password(token.expose(), secret(PASSWORD)).await.unwrap();
        let own = session(&accounts, "a@example.org").await;
        accounts.change_public_key(&own, sign(&pairs[1], false), None).await.unwrap();
    })
    .await;
}
