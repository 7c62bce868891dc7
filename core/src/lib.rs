//! The domain of ehi-server: export jobs, authorization, and the ports an integrator implements.

pub mod export;
pub mod fhir;
pub mod ports;
