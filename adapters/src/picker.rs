//! A patient login that asks nothing but "who are you?": for demonstrations only.

use std::sync::Arc;

use async_trait::async_trait;
use ehi_core::auth::LoginAttempt;
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    LoginError, PatientAnswer, PatientLogin, PatientPrompt, PatientSearch, Proof, RecordSource,
};

/// How many patients the list shows.
const SHOWN: usize = 200;

/// Lets whoever is at the browser pick a patient from a list.
#[derive(Debug, Clone)]
pub struct PatientPicker {
    source: Arc<dyn RecordSource>,
}

impl PatientPicker {
    /// A picker of this source's patients.
    pub fn new(source: Arc<dyn RecordSource>) -> Self {
        Self { source }
    }
}

#[async_trait]
impl PatientLogin for PatientPicker {
    async fn prompt(&self, _: &LoginAttempt, _: Proof) -> Result<PatientPrompt, LoginError> {
        let everybody = PatientSearch {
            name: String::new(),
            birth_date: None,
            limit: SHOWN,
        };
        let found = self.source.search(&everybody).await;
        let patients = found.map_err(|error| LoginError::Unavailable(error.into()))?;
        Ok(PatientPrompt::Pick(patients))
    }

    async fn verify(&self, answer: PatientAnswer) -> Result<PatientId, LoginError> {
        match answer {
            PatientAnswer::Picked(id) => Ok(id),
            PatientAnswer::Password(_) | PatientAnswer::Returned(_) => Err(LoginError::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use ehi_core::ports::MockRecordSource;
    use ehi_core::testkit::patient;

    use super::*;

    fn picker() -> PatientPicker {
        let mut source = MockRecordSource::new();
        source.expect_search().returning(|_| Ok(vec![patient()]));
        PatientPicker::new(Arc::new(source))
    }

    ehi_core::patient_login_contract!(std::future::ready((picker(), ())));

    #[tokio::test]
    async fn whoever_is_picked_is_who_is_at_the_browser() {
        let picked = picker().verify(PatientAnswer::Picked(patient().id)).await;
        assert_eq!(picked.unwrap(), patient().id);
    }
}
