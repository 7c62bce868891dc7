//! The promises of the login, at a provider that says whatever the test wants.

mod configuration;
mod provider;
mod support;
mod tokens;

mod contract {
    use std::sync::Arc;

    use ehi_core::testkit::{FixedClock, at};

    use super::super::OidcPatients;
    use super::support::Provider;

    async fn fresh() -> (OidcPatients, Provider) {
        let provider = Provider::start().await;
        let clock = Arc::new(FixedClock::at(at(0)));
        (provider.patients(&clock, ""), provider)
    }

    ehi_core::patient_login_contract!(fresh());
}
