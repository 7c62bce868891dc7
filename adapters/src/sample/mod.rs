//! Believable made-up patients, the same ones every time.
//!
//! A pure generator: a seed, a number of patients and the date that counts as today go in, one
//! FHIR R4 Bundle per patient comes out, from the day of birth to today or to death. No clock, no
//! files, no other randomness.
//!
//! How a life becomes a Bundle, one file per step:
//!
//! | file | holds |
//! |---|---|
//! | `dice` | the seeded randomness, and ids made of it |
//! | `codes` | codes and code systems, and how they are written in JSON |
//! | `people` | who the patient is: names, address, birth, death; `Patient` |
//! | `places` | who cares for them: `Organization`, `Location`, `Practitioner`, `Coverage` |
//! | `life` | the timeline: which visits happen when |
//! | `visits` | what happens at each of them |
//! | `chart` | the Bundle being written, and the links inside it |
//! | `encounters` | the `Encounter` every other resource hangs on |
//! | `conditions`, `diagnoses` | the tables of illnesses; `Condition`, `AllergyIntolerance` |
//! | `sensitive` | the table of episodes that carry sensitivity labels |
//! | `measures`, `observations` | the tables of values; `Observation` and its `DiagnosticReport` |
//! | `treatments` | `Procedure`, `MedicationRequest`, `CarePlan` |
//! | `immunizations` | the vaccination schedule; `Immunization` |
//! | `imaging` | `ImagingStudy` and the radiologist's `DiagnosticReport` |
//! | `documents` | `DocumentReference`, `Media` and the pathologist's `DiagnosticReport` |
//! | `files` | the smallest PDF and PNG that a viewer accepts |
//! | `billing` | `Claim` and `ExplanationOfBenefit` |

mod billing;
mod chart;
mod codes;
mod conditions;
mod diagnoses;
mod dice;
mod documents;
mod encounters;
mod files;
mod imaging;
mod immunizations;
mod life;
mod measures;
mod observations;
mod people;
mod places;
mod sensitive;
#[cfg(test)]
mod tests;
mod treatments;
mod visits;

use jiff::civil::Date;
use serde_json::Value;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleOptions {
    /// How many patients. Patient N is the same person however many there are.
    pub patients: u32,
    /// The same seed makes the same patients, byte for byte.
    pub seed: u64,
    /// The day the records were taken: nothing in them is later.
    pub today: Date,
}

/// One patient's whole record.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplePatient {
    /// The id of the Patient resource.
    pub id: String,
    /// A name for the record's file, safe on any file system: `Given_Family_<id>.json`.
    pub file_name: String,
    /// A Bundle of type `collection`; the Patient comes first, and every reference is the
    /// `fullUrl` (`urn:uuid:…`) of an entry of the same Bundle.
    pub bundle: Value,
}

/// Makes the patients one at a time, as they are asked for.
///
/// Patient number 0 is a grown-up who has lived through every kind of sensitive episode, so that
/// even a single record shows each label at work.
pub fn patients(options: SampleOptions) -> impl Iterator<Item = SamplePatient> {
    (0..options.patients).map(move |number| life::live(options.seed, number, options.today))
}
