//! Believable made-up patients.
