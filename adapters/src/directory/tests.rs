//! What the directory promises.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use ehi_core::auth::{
    ClientAuthentication, ClientKeys, Introspects, LoopbackRedirects, Quirk, Scope,
};
use ehi_core::testkit::{FixedClock, RecordedAudit, at};
use tempfile::TempDir;

use super::*;
use crate::accounts::{NOBODY, Refusal, hash_password};

fn directory() -> Directory {
    let hash = hash_password(&"right".to_owned().into()).unwrap();
    Directory::parse(&format!(
        "[[client]]\nid = 'app'\nname = 'App'\nredirect_uris = ['https://app.example/cb']\nquirks = ['bare_link_header']\n\
         [[staff]]\nusername = 'ada'\npassword_hash = '{hash}'\n\
         [[patient]]\nusername = 'grace'\npassword_hash = '{hash}'\npatient = 'p-1'\n"
    ))
    .unwrap()
}

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials {
        username: username.into(),
        password: password.to_owned().into(),
    }
}

async fn log_in(
    directory: &Directory,
    username: &str,
    password: &str,
) -> Result<StaffMember, LoginError> {
    let answer = StaffAnswer::Password(credentials(username, password));
    StaffLogin::verify(directory, answer).await
}

#[tokio::test]
async fn staff_review_unless_the_file_makes_them_admins() {
    let hash = hash_password(&"right".to_owned().into()).unwrap();
    let entry = |name: &str, role: &str| {
        format!("[[staff]]\nusername = '{name}'\npassword_hash = '{hash}'\n{role}")
    };
    let text = entry("ada", "") + &entry("grace", "role = 'admin'\n");
    let directory = Directory::parse(&text).unwrap();
    for (name, role) in [("ada", StaffRole::Reviewer), ("grace", StaffRole::Admin)] {
        let member = log_in(&directory, name, "right").await.unwrap();
        assert_eq!(member.role, role, "{name}");
        let standing = directory.standing(&member.name).await.unwrap();
        assert!(
            matches!(standing, Standing::Has(now, _) if now == role),
            "{name}"
        );
    }
    let gone = StaffName::proven("nobody");
    assert_eq!(directory.standing(&gone).await.unwrap(), Standing::Gone);
    let nonsense = Directory::parse(&entry("ada", "role = 'boss'\n")).unwrap_err();
    assert!(nonsense.to_string().contains("boss"), "{nonsense}");
}

#[tokio::test]
async fn an_unknown_name_takes_as_long_as_a_wrong_password() {
    let directory = directory();
    // The quickest of several, so that whatever else the machine does counts for little.
    let quickest = async |username| {
        let mut quickest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            let refused = log_in(&directory, username, "wrong").await;
            assert!(matches!(refused, Err(LoginError::Refused)));
            quickest = quickest.min(begun.elapsed());
        }
        quickest
    };
    let (known, unknown) = (quickest("ada").await, quickest("nobody").await);
    assert!(
        unknown > known / 4 && known > unknown / 4,
        "{known:?}, {unknown:?}"
    );
}

#[tokio::test]
async fn the_right_password_opens_and_every_other_answer_is_refused_alike() {
    let directory = directory();
    let ada = log_in(&directory, "ada", "right").await.unwrap();
    assert_eq!(ada.name.as_str(), "ada");
    for (username, password) in [
        ("ada", "wrong"),
        ("nobody", "right"),
        ("grace", "right"),
        ("", ""),
        ("ADA", "right"),
    ] {
        let refused = log_in(&directory, username, password).await;
        assert!(matches!(refused, Err(LoginError::Refused)), "{username}");
    }
    let grace = PatientAnswer::Password(credentials("grace", "right"));
    assert_eq!(
        PatientLogin::verify(&directory, grace)
            .await
            .unwrap()
            .as_str(),
        "p-1"
    );
    let picked = PatientAnswer::Picked(PatientId::parse("p-1").unwrap());
    assert!(PatientLogin::verify(&directory, picked).await.is_err());
}

#[tokio::test]
async fn a_client_may_export_for_patients_and_not_for_the_system_unless_it_says_so() {
    let id = ClientId::parse("app").unwrap();
    let client = directory().client(&id).await.unwrap().unwrap();
    assert!(client.scopes.contains(Scope::PatientEhiExport));
    assert!(!client.scopes.contains(Scope::SystemEhiExport));
    assert!(client.has(Quirk::BareLinkHeader) && !client.has(Quirk::GroupedAttachments));
    assert_eq!(client.loopback, LoopbackRedirects::Registered);
}

#[test]
fn a_hash_for_nobody_costs_what_others_cost() {
    let nobody = PasswordHash::new(NOBODY).unwrap();
    let fresh = hash_password(&"x".to_owned().into()).unwrap();
    assert_eq!(nobody.params, PasswordHash::new(&fresh).unwrap().params);
}

#[test]
fn mistakes_in_the_file_are_told() {
    for (text, told) in [
        ("[[client]]\nid = 'a'\n", "name"),
        (
            "[[client]]\nid = 'a'\nname = 'A'\nredirect_uri = 'x'\n",
            "redirect_uri",
        ),
        ("[[client]]\nid = 'a b'\nname = 'A'\n", "client id"),
        (
            "[[staff]]\nusername = 'ada'\npassword_hash = 'plain'\n",
            "hash-password",
        ),
        (
            "[[client]]\nid = 'a'\nname = 'A'\n[[client]]\nid = 'a'\nname = 'B'\n",
            "'a' twice",
        ),
        (
            "[[patient]]\nusername = 'g'\npassword_hash = ''\npatient = '../x'\n",
            "FHIR id",
        ),
    ] {
        let error = Directory::parse(text).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

/// A P-384 key that nobody has the other half of.
const JWKS: &str = "{keys = [{kty = 'EC', crv = 'P-384', kid = 'a', \
    x = 'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH', \
    y = 'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH'}]}";

fn id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

fn client_of(lines: &str) -> Result<Client, DirectoryError> {
    let text = format!("[[client]]\nid = 'app'\nname = 'App'\n{lines}\n");
    let directory = Directory::parse(&text)?;
    Ok(directory.clients()[0].clone())
}

#[test]
fn a_client_is_registered_with_how_it_proves_itself() {
    assert_eq!(
        client_of("").unwrap().authentication,
        ClientAuthentication::Public
    );
    let secret = format!(
        "token_endpoint_auth_method = 'client_secret_basic'\nsecret_hash = '{NOBODY}'\n\
         introspects = 'all'\naccess_token_lifetime = '2 min'\nrefresh_token_lifetime = '30 days'\n\
         loopback = 'any-port'"
    );
    let client = client_of(&secret).unwrap();
    assert_eq!(client.authentication, ClientAuthentication::Secret);
    assert_eq!(client.introspects, Introspects::All);
    assert_eq!(client.lifetimes.access, Some(Duration::from_mins(2)));
    assert_eq!(client.lifetimes.refresh, Some(Duration::from_hours(720)));
    assert_eq!(client.loopback, LoopbackRedirects::AnyPort);
    let system = "token_endpoint_auth_method = 'private_key_jwt'\nscopes = ['system/$ehi-export']";
    let client = client_of(&format!("{system}\njwks = {JWKS}")).unwrap();
    assert!(client.is_backend_service());
    let keys = |client: Client| match client.authentication {
        ClientAuthentication::Key(keys) => keys,
        other => panic!("{other:?}"),
    };
    assert!(matches!(keys(client), ClientKeys::Registered(_)));
    let uri = "jwks_uri = 'https://app.example/jwks.json'";
    let client = client_of(&format!("{system}\n{uri}")).unwrap();
    assert!(matches!(keys(client), ClientKeys::Published(_)));
}

#[test]
fn a_mistake_in_a_registration_is_told_with_the_clients_name() {
    let key = "token_endpoint_auth_method = 'private_key_jwt'\n";
    let basic = "token_endpoint_auth_method = 'client_secret_basic'\n";
    let uri = "jwks_uri = 'https://app.example/jwks.json'\n";
    let private = JWKS.replace("kid = 'a'", "d = 'AQAB'");
    for (lines, told) in [
        (
            "scopes = ['system/$ehi-export']".to_owned(),
            "private_key_jwt",
        ),
        (
            format!("{basic}secret_hash = '{NOBODY}'\nscopes = ['system/$ehi-export']"),
            "private_key_jwt",
        ),
        (key.to_owned(), "either jwks or jwks_uri"),
        (
            format!("{key}{uri}jwks = {JWKS}"),
            "either jwks or jwks_uri",
        ),
        (format!("{key}jwks = {private}"), "private key"),
        (
            format!("{key}jwks = {{keys = [{{kty = 'RSA', n = 'AQAB', e = 'AQAB'}}]}}"),
            "17 bits",
        ),
        (
            format!("{key}jwks_uri = 'http://app.example/jwks.json'"),
            "https",
        ),
        (uri.to_owned(), "private_key_jwt"),
        (basic.to_owned(), "secret_hash is missing"),
        (format!("{basic}secret_hash = 'plain'"), "no argon2id hash"),
        (format!("secret_hash = '{NOBODY}'"), "client_secret_basic"),
        ("introspects = 'all'".to_owned(), "introspects"),
    ] {
        let error = client_of(&lines).unwrap_err().to_string();
        assert!(error.contains("client 'app'"), "{error}");
        assert!(error.contains(told), "{lines}: {error}");
    }
    for lines in [
        "access_token_lifetime = 'soon'",
        "access_token_lifetime = '0 s'",
        "token_endpoint_auth_method = 'client_secret_post'",
    ] {
        assert!(client_of(lines).is_err(), "{lines}");
    }
}

#[tokio::test]
async fn only_the_right_secret_of_that_client_is_right() {
    let hash = |secret: &str| hash_password(&secret.to_owned().into()).unwrap();
    let entry = |id: &str, secret: &str| {
        format!(
            "[[client]]\nid = '{id}'\nname = 'App'\nsecret_hash = '{}'\n\
             token_endpoint_auth_method = 'client_secret_basic'\n",
            hash(secret)
        )
    };
    let public = "[[client]]\nid = 'public'\nname = 'App'\n";
    let text = format!("{}{}{public}", entry("one", "a"), entry("two", "b"));
    let directory = Directory::parse(&text).unwrap();
    for (client, secret, right) in [
        ("one", "a", true),
        ("two", "b", true),
        ("one", "b", false),
        ("one", "", false),
        ("public", "a", false),
        ("unknown", "a", false),
    ] {
        let verified = directory
            .verify_secret(&id(client), &secret.to_owned().into())
            .await;
        assert_eq!(verified.unwrap(), right, "{client} {secret}");
    }
}

/// A directory file with a comment and a client.
fn file() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("directory.toml");
    fs::write(&path, ONE).unwrap();
    (folder, path)
}

const ONE: &str = "# Apps, by hand.\n[[client]]\nid = \"one\" # the first\nname = \"One\"\n\n# Staff.\n[[staff]]\nusername = \"ada\"\npassword_hash = \"HASH\"\n";

/// Writes a file anew, in place at once.
fn put(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

#[tokio::test]
async fn a_changed_file_counts_and_a_broken_one_does_not() {
    let (_folder, path) = file();
    put(&path, &ONE.replace("HASH", NOBODY));
    let clock = Arc::new(FixedClock::at(at(0)));
    let live =
        DirectoryFile::open(&path, clock.clone(), Arc::new(RecordedAudit::default())).unwrap();
    let known = async |client: &str| live.client(&id(client)).await.unwrap().is_some();
    assert!(known("one").await && !known("two").await);

    let both = format!(
        "[[client]]\nid = 'two'\nname = 'Two'\n{}",
        ONE.replace("HASH", NOBODY)
    );
    put(&path, &both);
    assert!(!known("two").await, "looked at once a second");
    clock.set(at(1));
    assert!(known("one").await && known("two").await);

    for (second, broken) in [(2, "nonsense ["), (3, "[[client]]\nid = 'x'\n"), (4, "")] {
        put(&path, broken);
        clock.set(at(second));
        assert_eq!(known("two").await, !broken.is_empty(), "{broken}");
    }
    // An empty directory is one.
    fs::remove_file(&path).unwrap();
    clock.set(at(5));
    assert!(!known("two").await);
    put(&path, &both);
    clock.set(at(6));
    assert!(known("two").await);
    // A clock that is set back is not waited for.
    put(&path, "");
    clock.set(at(-1000));
    assert!(!known("two").await);
}

fn registration(lines: &str) -> Registration {
    toml::from_str(lines).unwrap()
}

#[test]
fn clients_are_added_changed_and_removed_and_the_rest_of_the_file_stays() {
    let (_folder, path) = file();
    let before = ONE.replace("HASH", NOBODY);
    put(&path, &before);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let secret = format!(
        "id = 'two'\nname = 'Two'\ntoken_endpoint_auth_method = 'client_secret_basic'\n\
         secret_hash = '{NOBODY}'\nredirect_uris = ['https://app.example/cb']"
    );
    let key = format!(
        "id = 'three'\nname = 'Three'\ntoken_endpoint_auth_method = 'private_key_jwt'\n\
         scopes = ['system/$ehi-export']\njwks = {JWKS}"
    );
    let mut edit = DirectoryEdit::open(&path).unwrap();
    edit.add(&registration(&secret)).unwrap();
    edit.add(&registration(&key)).unwrap();
    edit.save().unwrap();

    let text = fs::read_to_string(&path).unwrap();
    for kept in ["# Apps, by hand.", "# the first", "# Staff."] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let directory = Directory::parse(&text).unwrap();
    let ids: Vec<_> = (directory.clients().iter())
        .map(|client| client.id.to_string())
        .collect();
    assert_eq!(ids, ["one", "three", "two"]);
    let expected = registration(&key).client().unwrap();
    assert_eq!(*directory.clients()[1], expected, "nothing got lost");
    assert_eq!(
        *directory.clients()[2],
        registration(&secret).client().unwrap()
    );

    let fresh = hash_password(&"fresh".to_owned().into()).unwrap();
    let mut edit = DirectoryEdit::open(&path).unwrap();
    edit.replace_secret(&id("two"), &fresh).unwrap();
    edit.save().unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains(&fresh));

    let mut edit = DirectoryEdit::open(&path).unwrap();
    edit.remove(&id("two")).unwrap();
    edit.remove(&id("three")).unwrap();
    edit.save().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}

#[test]
fn an_edit_that_makes_no_sense_changes_nothing() {
    let (_folder, path) = file();
    let before = ONE.replace("HASH", NOBODY);
    put(&path, &before);
    let mut edit = DirectoryEdit::open(&path).unwrap();
    let one = registration("id = 'one'\nname = 'Again'");
    assert!(matches!(
        edit.add(&one),
        Err(EditError::Refused(Refusal::ClientTaken(_)))
    ));
    assert!(matches!(
        edit.remove(&id("none")),
        Err(EditError::Refused(Refusal::NoClient(_)))
    ));
    let none = edit.replace_secret(&id("one"), NOBODY);
    assert!(matches!(
        none,
        Err(EditError::Refused(Refusal::NoSecret(_)))
    ));
    let bad = registration("id = 'bad'\nname = 'Bad'\nscopes = ['system/$ehi-export']");
    edit.add(&bad).unwrap();
    assert!(matches!(edit.save(), Err(EditError::Broken(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), before);

    put(&path, "client = [{id = 'a', name = 'A'}]\n");
    let mut edit = DirectoryEdit::open(&path).unwrap();
    assert!(matches!(edit.add(&one), Err(EditError::Form(_))));
}

/// The clients, staff and patients that the contract suites ask for.
fn contract_file() -> String {
    use ehi_core::testkit::contract::client_registry::SECRET;
    use ehi_core::testkit::contract::logins::PASSWORD;
    let hash = |password: &str| hash_password(&password.to_owned().into()).unwrap();
    let person = |kind: &str, name: &str, more: &str| {
        let hash = hash(&format!("{PASSWORD} {name}"));
        format!("[[{kind}]]\nusername = '{name}'\npassword_hash = '{hash}'\n{more}\n")
    };
    let client = |id: &str, more: &str| {
        format!(
            "[[client]]\nid = '{id}'\nname = 'Test app'\nloopback = 'any'\nscopes = [{}]\n{more}\n",
            Scope::ALL
                .iter()
                .filter(|scope| **scope != Scope::SystemEhiExport)
                .map(|scope| format!("'{}'", scope.as_str()))
                .collect::<Vec<_>>()
                .join(", ")
        )
    };
    let secret = format!(
        "token_endpoint_auth_method = 'client_secret_basic'\nsecret_hash = '{}'",
        hash(SECRET)
    );
    client("test-app", "")
        + &client("with-secret", &secret)
        + &person("staff", "ada", "role = 'admin'")
        + &person("staff", "bob", "")
        + &person("patient", "grace", "patient = 'p-1'")
}

mod contract {
    use super::*;

    fn live() -> (DirectoryFile, TempDir) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("directory.toml");
        fs::write(&path, contract_file()).unwrap();
        let clock = Arc::new(FixedClock::at(at(0)));
        (
            DirectoryFile::open(&path, clock, Arc::new(RecordedAudit::default())).unwrap(),
            folder,
        )
    }

    ehi_core::client_registry_contract!(std::future::ready(live()));
    ehi_core::client_secret_contract!(std::future::ready(live()));
    ehi_core::staff_password_contract!(std::future::ready(live()));
    ehi_core::patient_password_contract!(std::future::ready(live()));
}

#[test]
fn staff_are_added_changed_and_removed_and_the_rest_of_the_file_stays() {
    let (_folder, path) = file();
    let before = ONE.replace("HASH", NOBODY);
    put(&path, &before);
    let name = |name: &str| StaffName::parse(name).unwrap();
    let grace = StaffMember {
        name: name("grace"),
        role: StaffRole::Admin,
    };
    let mut edit = DirectoryEdit::open(&path).unwrap();
    edit.add_staff(&grace, NOBODY).unwrap();
    edit.save().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for kept in ["# Apps, by hand.", "# the first", "# Staff."] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
    let directory = Directory::parse(&text).unwrap();
    assert_eq!(directory.staff()[1], (&grace, NOBODY));

    let fresh = hash_password(&"fresh".to_owned().into()).unwrap();
    let mut edit = DirectoryEdit::open(&path).unwrap();
    edit.replace_password(&grace.name, &fresh).unwrap();
    edit.save().unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains(&fresh));

    let mut edit = DirectoryEdit::open(&path).unwrap();
    let taken = edit.add_staff(&grace, NOBODY);
    assert!(matches!(
        taken,
        Err(EditError::Refused(Refusal::StaffTaken(_)))
    ));
    let unknown = edit.replace_password(&name("nobody"), NOBODY);
    assert!(matches!(
        unknown,
        Err(EditError::Refused(Refusal::NoStaff(_)))
    ));
    edit.remove_staff(&grace.name).unwrap();
    assert!(edit.remove_staff(&grace.name).is_err());
    edit.save().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}
