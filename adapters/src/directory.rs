//! Clients, staff and patients' logins from a TOML file.
//!
//! ```toml
//! [[client]]
//! id = "my-app"
//! name = "My app"
//! redirect_uris = ["https://app.example.org/callback"]
//!
//! [[staff]]
//! username = "ada"
//! password_hash = "$argon2id$…"      # made by `ehi-server hash-password`
//! role = "admin"                     # or "reviewer", as it is without it
//!
//! [[patient]]
//! username = "grace"
//! password_hash = "$argon2id$…"
//! patient = "6c5d9ca9-54d7-42f5-bfae-a7c19cd217f2"
//! ```

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use async_trait::async_trait;
use ehi_core::auth::{
    Client, ClientId, LoginAttempt, LoopbackRedirects, Quirk, RegisteredUrl, Scope, Scopes,
    StaffMember, StaffName, StaffRole,
};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    ClientRegistry, Credentials, LoginError, PatientAnswer, PatientLogin, PatientPrompt, Proof,
    StaffAnswer, StaffLogin, StaffPrompt, Standing, StoreError,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Semaphore;

/// Everybody the server knows by name.
#[derive(Debug)]
pub struct Directory {
    clients: HashMap<ClientId, Client>,
    staff: Accounts<StaffMember>,
    patients: Accounts<PatientId>,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Not TOML, or not in this shape.
    #[error("the directory file cannot be read: {0}")]
    Toml(#[from] toml::de::Error),
    /// Two entries of one name.
    #[error("the directory file names '{0}' twice")]
    Twice(String),
    /// A password hash that is none.
    #[error(
        "the password_hash of '{0}' is no argon2id hash: make one with 'ehi-server hash-password'"
    )]
    PasswordHash(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    client: Vec<ClientEntry>,
    #[serde(default)]
    staff: Vec<StaffEntry>,
    #[serde(default)]
    patient: Vec<PatientEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientEntry {
    id: ClientId,
    name: String,
    #[serde(default)]
    redirect_uris: Vec<RegisteredUrl>,
    #[serde(default)]
    return_urls: Vec<RegisteredUrl>,
    #[serde(default)]
    loopback: LoopbackRedirects,
    #[serde(default = "patient_scopes")]
    scopes: Scopes,
    #[serde(default)]
    quirks: Vec<Quirk>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaffEntry {
    username: String,
    password_hash: String,
    #[serde(default = "reviewer")]
    role: StaffRole,
}

fn reviewer() -> StaffRole {
    StaffRole::Reviewer
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatientEntry {
    username: String,
    password_hash: String,
    patient: PatientId,
}

/// What a patient's app usually asks for.
fn patient_scopes() -> Scopes {
    [
        Scope::PatientEhiExport,
        Scope::LaunchPatient,
        Scope::OfflineAccess,
        Scope::OnlineAccess,
    ]
    .into_iter()
    .collect()
}

impl Directory {
    /// Reads the text of a directory file.
    pub fn parse(text: &str) -> Result<Self, DirectoryError> {
        let file: File = toml::from_str(text)?;
        let mut clients = HashMap::new();
        for entry in file.client {
            let client = Client {
                id: entry.id.clone(),
                name: entry.name,
                redirect_uris: entry.redirect_uris,
                return_urls: entry.return_urls,
                loopback: entry.loopback,
                scopes: entry.scopes,
                quirks: entry.quirks,
            };
            if clients.insert(entry.id.clone(), client).is_some() {
                return Err(DirectoryError::Twice(entry.id.to_string()));
            }
        }
        let staff = (file.staff.into_iter()).map(|entry| {
            let member = StaffMember {
                name: StaffName::proven(&entry.username),
                role: entry.role,
            };
            (entry.username, entry.password_hash, member)
        });
        let patients = (file.patient.into_iter())
            .map(|entry| (entry.username, entry.password_hash, entry.patient));
        Ok(Self {
            clients,
            staff: Accounts::new(staff)?,
            patients: Accounts::new(patients)?,
        })
    }

    /// Whether any client is registered.
    pub fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether any member of staff can log in.
    pub fn has_staff(&self) -> bool {
        !self.staff.by_name.is_empty()
    }

    /// Whether any patient can log in.
    pub fn has_patients(&self) -> bool {
        !self.patients.by_name.is_empty()
    }
}

#[async_trait]
impl ClientRegistry for Directory {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        Ok(self.clients.get(id).cloned())
    }
}

#[async_trait]
impl StaffLogin for Directory {
    async fn prompt(&self, _: &LoginAttempt, _: Proof) -> Result<StaffPrompt, LoginError> {
        Ok(StaffPrompt::Password)
    }

    async fn verify(&self, answer: StaffAnswer) -> Result<StaffMember, LoginError> {
        match answer {
            StaffAnswer::Password(credentials) => self.staff.verify(credentials).await,
            StaffAnswer::Returned(_) => Err(LoginError::Refused),
        }
    }

    async fn standing(&self, name: &StaffName) -> Result<Standing, LoginError> {
        let account = self.staff.by_name.get(name.as_str());
        Ok(account.map_or(Standing::Gone, |(_, member)| Standing::Has(member.role)))
    }
}

#[async_trait]
impl PatientLogin for Directory {
    async fn prompt(&self, _: &LoginAttempt, _: Proof) -> Result<PatientPrompt, LoginError> {
        Ok(PatientPrompt::Password)
    }

    async fn verify(&self, answer: PatientAnswer) -> Result<PatientId, LoginError> {
        match answer {
            PatientAnswer::Password(credentials) => self.patients.verify(credentials).await,
            PatientAnswer::Picked(_) | PatientAnswer::Returned(_) => Err(LoginError::Refused),
        }
    }
}

/// The argon2id hash of a password, for the directory file.
pub fn hash_password(password: &SecretString) -> Result<String, LoginError> {
    let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| LoginError::Unavailable(error.to_string().into()))
}

/// User names with their password hashes, and who each of them is.
#[derive(Debug)]
struct Accounts<T> {
    by_name: HashMap<String, (Arc<str>, T)>,
    /// A hash nobody has the password of: an unknown name takes as long as a wrong password.
    nobody: Arc<str>,
    /// Each check takes 19 MiB and a core for a moment; a crowd has to queue.
    turns: Semaphore,
}

impl<T: Clone + Debug> Accounts<T> {
    fn new(entries: impl Iterator<Item = (String, String, T)>) -> Result<Self, DirectoryError> {
        let mut accounts = HashMap::new();
        for (username, hash, who) in entries {
            let argon2id =
                PasswordHash::new(&hash).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id");
            if !argon2id {
                return Err(DirectoryError::PasswordHash(username));
            }
            if accounts
                .insert(username.clone(), (hash.into(), who))
                .is_some()
            {
                return Err(DirectoryError::Twice(username));
            }
        }
        Ok(Self {
            by_name: accounts,
            nobody: NOBODY.into(),
            turns: Semaphore::new(4),
        })
    }

    async fn verify(&self, credentials: Credentials) -> Result<T, LoginError> {
        let account = self.by_name.get(&credentials.username);
        let hash = account.map_or(&self.nobody, |(hash, _)| hash).clone();
        let unavailable =
            |error: &dyn std::error::Error| LoginError::Unavailable(error.to_string().into());
        let turn = self
            .turns
            .acquire()
            .await
            .map_err(|error| unavailable(&error))?;
        let matches = tokio::task::spawn_blocking(move || {
            let password = credentials.password.expose_secret().as_bytes();
            PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
        })
        .await
        .map_err(|error| unavailable(&error))?;
        drop(turn);
        match account {
            Some((_, who)) if matches => Ok(who.clone()),
            _ => Err(LoginError::Refused),
        }
    }
}

/// The hash of a random password that was thrown away, with this version's default parameters.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$ApPX4kuEwQgJ5IhMkk/2oQ$BpOlshzBA/diUvGIy8eXnItWU565jXhBnMvNjpZnjrc";

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

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
            assert_eq!(standing, Standing::Has(role), "{name}");
        }
        let gone = StaffName::proven("nobody");
        assert_eq!(directory.standing(&gone).await.unwrap(), Standing::Gone);
        let nonsense = Directory::parse(&entry("ada", "role = 'boss'\n")).unwrap_err();
        assert!(nonsense.to_string().contains("boss"), "{nonsense}");
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
}
