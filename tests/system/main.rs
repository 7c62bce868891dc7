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
mod dice;
mod export;
mod faulty;
mod forms;
mod gated;
mod hand;
mod patients;
mod provider;
mod raw;
mod server;
mod site;
mod staff;
mod wait;

mod access;
mod admin;
mod attachments;
mod audit;
mod backend;
mod backup;
mod blocking;
mod confidential;
mod cors;
mod customise;
mod deployment;
mod documentation;
mod durable;
mod edge;
mod errors;
mod faults;
mod files;
mod flow;
mod full;
mod headers;
mod killed;
mod oidc;
mod operator;
mod own_source;
mod pages;
mod parameters;
mod process;
mod records;
mod replicas;
mod s3;
mod served;
mod sessions;
mod slow;
mod smart;
mod smuggling;
mod throttled;
mod tls;
mod tokens;
mod workers;
