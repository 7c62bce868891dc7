//! What tests of several crates need from the machine they run on.

#[cfg(any(
    feature = "testing",
    all(test, any(feature = "records-tables", feature = "sql"))
))]
mod postgres;
#[cfg(any(feature = "testing", all(test, feature = "s3")))]
pub mod s3;

#[cfg(any(
    feature = "testing",
    all(test, any(feature = "records-tables", feature = "sql"))
))]
pub use postgres::TestDatabase;
