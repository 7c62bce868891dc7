//! The system from outside: the real binary, spoken to over HTTP as apps, patients and staff do.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    clippy::expect_used,
    reason = "in a test, what is missing is a failure"
)]

mod app;
mod browser;
mod choices;
mod clients;
mod export;
mod forms;
mod patients;
mod raw;
mod server;
mod staff;
mod wait;

mod access;
mod admin;
mod attachments;
mod backend;
mod confidential;
mod cors;
mod customise;
mod documentation;
mod errors;
mod files;
mod flow;
mod operator;
mod pages;
mod parameters;
mod process;
mod records;
mod served;
mod smart;
mod tokens;
