//! The promises of the login, at a provider that says whatever the test wants.

mod configuration;
mod provider;
mod support;
mod tokens;
