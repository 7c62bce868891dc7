//! What tests of several crates need from the machine they run on.

mod postgres;

pub use postgres::TestDatabase;
