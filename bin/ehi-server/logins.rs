//! How patients and staff log in, as the configuration says: at an identity provider, or by the
//! names and passwords of the directory file or the database.

use std::path::Path;
use std::sync::Arc;

use ehi_adapters::oidc::{OidcConfigError, OidcPatients, OidcStaff};
use ehi_adapters::system::SystemClock;
use ehi_core::ports::{PatientLogin, StaffLogin};
use url::Url;

use crate::Failure;
use crate::config::Config;
use crate::people::People;

/// Who is at the browser.
pub struct Logins {
    /// Proves who patients are.
    pub patients: Arc<dyn PatientLogin>,
    /// Proves who staff are.
    pub staff: Arc<dyn StaffLogin>,
    /// Where staff go once they logged in elsewhere.
    pub staff_home: Option<Url>,
}

impl Logins {
    /// Those that the configuration names. Where it names none, the directory has to know
    /// somebody.
    pub async fn open(config: &Config, people: &People) -> Result<Self, Failure> {
        let callback = |path: &str| {
            let url = config.public_url.join(path);
            url.map_err(|error| Failure::because("public_url cannot be used", error))
        };
        let patients: Arc<dyn PatientLogin> = match &config.patient_login {
            Some(login) => {
                let callback = callback("/patient-login/callback")?;
                let login = OidcPatients::open(login.clone(), callback, Arc::new(SystemClock));
                Arc::new(login.map_err(|error| unusable("patient_login", error))?)
            }
            None => match people {
                People::File(file) if file.current().await.has_patients() => file.clone(),
                People::File(_) => {
                    return Err(nobody(config, "patient", "no patient could log in"));
                }
                People::Database { .. } => {
                    return Err(Failure::new(
                        "no patient could log in: name their identity provider in [patient_login]",
                    ));
                }
            },
        };
        let staff: Arc<dyn StaffLogin> = match &config.staff_login {
            Some(login) => {
                let callback = callback("/admin/login/callback")?;
                let login = OidcStaff::open(login.clone(), callback, Arc::new(SystemClock));
                Arc::new(login.map_err(|error| unusable("staff_login", error))?)
            }
            None => match people {
                People::File(file) if file.current().await.has_staff() => file.clone(),
                People::File(_) => {
                    return Err(nobody(config, "staff", "nobody could release an export"));
                }
                People::Database { staff, .. } => Arc::new(staff.clone()),
            },
        };
        let home = config.staff_login.as_ref();
        Ok(Self {
            patients,
            staff,
            staff_home: home.and_then(|login| login.return_url.clone()),
        })
    }
}

fn unusable(section: &str, error: OidcConfigError) -> Failure {
    Failure::because(format!("[{section}] cannot be used"), error)
}

fn nobody(config: &Config, entry: &str, so: &str) -> Failure {
    let file = config
        .directory
        .as_deref()
        .unwrap_or(Path::new("the directory"));
    let file = file.display();
    Failure::new(format!(
        "{file} has no [[{entry}]]: {so}. Or let them log in at an identity provider: [{entry}_login] in the configuration"
    ))
}
