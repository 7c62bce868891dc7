//! Contract suites: what every adapter of a port has to promise, as tests that ours run too.
//!
//! An adapter of your own is proved in three lines, as `examples/own_records.rs` does:
//!
//! ```text
//! async fn fresh() -> (MyJobs, TempDir) { … }   // an empty store, and what has to live as long
//! ehi_core::job_store_contract!(fresh());
//! ```
//!
//! Each macro makes a module of `#[tokio::test]`s, one for each promise; the crate that uses it
//! needs tokio with `macros` and `rt-multi-thread`. The functions are there to be called alone as
//! well.

pub mod audit_log;
pub mod client_assertions;
pub mod client_registry;
pub mod clock;
pub mod file_store;
pub mod grant_store;
pub mod guess_store;
pub mod job_store;
pub mod key_store;
pub mod logins;
pub mod record_source;
pub mod session_store;
pub mod token_keys;

/// Makes tests of the promises of one port: the macros of the ports go by this one.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_tests {
    ($module:ident, $fresh:expr, $($promise:ident)+) => {
        mod $module {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $promise() {
                    let (store, _kept) = $fresh.await;
                    $crate::testkit::contract::$module::$promise(std::sync::Arc::new(store)).await;
                }
            )+
        }
    };
}
