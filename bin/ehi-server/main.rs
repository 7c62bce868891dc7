//! The ehi-server binary.

fn main() {}
