//! `ehi-server hash-password`

use std::io::{self, BufRead};

use ehi_adapters::directory::hash_password;

use crate::Failure;
use crate::log::say;

/// Reads a password and prints its hash.
pub fn run() -> Result<(), Failure> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::because("the password could not be read", error))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.chars().count() < 8 {
        return Err(Failure::new(
            "a password needs at least 8 characters; type it on one line of standard input",
        ));
    }
    let hash = hash_password(&password.to_owned().into())
        .map_err(|error| Failure::because("the password could not be hashed", error))?;
    say(&hash);
    Ok(())
}
