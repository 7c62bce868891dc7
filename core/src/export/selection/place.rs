//! Where records of each type belong.
//!
//! | place | types |
//! |---|---|
//! | always | the patient, and the people and places that records refer to |
//! | `visits` | encounters, episodes, procedures, appointments and their calendars |
//! | `labs` | specimens; observations and reports of the laboratory |
//! | `billing` | accounts, coverage, claims and their answers, payments |
//! | documents | by their type: discharge summaries, operative notes, pathology, radiology, … |
//! | content | Binary and Bundle do not say what they belong to: with any document, or the medical record |
//! | `medicalRecord` | everything else, down to definitions a patient's record rarely holds |
//!
//! A type that FHIR adds has to be given its place here: there is no default.

use crate::export::ParameterKey;
use crate::fhir::ResourceType;

/// Where records of a type belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In every export: who the patient is, and whom records refer to.
    Always,
    /// In one part of the record.
    Part(ParameterKey),
    /// Observations: laboratory ones are `labs`, all others always go.
    Observation,
    /// Diagnostic reports: by their section; those without one always go.
    Report,
    /// Documents and images: by their type.
    Document,
    /// What documents are made of: with any of them, or with the medical record.
    Content,
}

/// What the public documentation says of where records of this type go.
pub(super) fn explained(resource_type: ResourceType) -> String {
    match place(resource_type) {
        Place::Always => "in every export".to_owned(),
        Place::Part(key) => key.key().to_owned(),
        Place::Observation => format!("{}; others in every export", ParameterKey::Labs.key()),
        Place::Report => "by its section or its code, see below; others in every export".to_owned(),
        Place::Document => "by its type, see below".to_owned(),
        Place::Content => "with the document it belongs to".to_owned(),
    }
}

/// Where records of this type belong.
#[expect(clippy::too_many_lines, reason = "a table of 146 types")]
pub(super) fn place(resource_type: ResourceType) -> Place {
    use ResourceType as T;
    match resource_type {
        // Individuals and entities.
        T::Patient
        | T::Person
        | T::RelatedPerson
        | T::Practitioner
        | T::PractitionerRole
        | T::Organization
        | T::OrganizationAffiliation
        | T::Location
        | T::HealthcareService
        | T::Endpoint => Place::Always,

        // What happened at the hospital, and what is planned.
        T::Encounter
        | T::EpisodeOfCare
        | T::Procedure
        | T::Appointment
        | T::AppointmentResponse
        | T::Schedule
        | T::Slot => Place::Part(ParameterKey::Visits),

        T::Observation => Place::Observation,
        T::DiagnosticReport => Place::Report,
        T::Specimen => Place::Part(ParameterKey::Labs),

        // Documents and images.
        T::DocumentReference
        | T::DocumentManifest
        | T::Composition
        | T::ImagingStudy
        | T::Media => Place::Document,
        T::Binary | T::Bundle => Place::Content,

        // Support, billing, payment.
        T::Account
        | T::ChargeItem
        | T::ChargeItemDefinition
        | T::Claim
        | T::ClaimResponse
        | T::Contract
        | T::Coverage
        | T::CoverageEligibilityRequest
        | T::CoverageEligibilityResponse
        | T::EnrollmentRequest
        | T::EnrollmentResponse
        | T::ExplanationOfBenefit
        | T::InsurancePlan
        | T::Invoice
        | T::PaymentNotice
        | T::PaymentReconciliation => Place::Part(ParameterKey::Billing),

        // Clinical summary, diagnostics, care provision, requests.
        T::AdverseEvent
        | T::AllergyIntolerance
        | T::BodyStructure
        | T::CarePlan
        | T::CareTeam
        | T::ClinicalImpression
        | T::Condition
        | T::DetectedIssue
        | T::FamilyMemberHistory
        | T::Flag
        | T::Goal
        | T::MolecularSequence
        | T::NutritionOrder
        | T::RequestGroup
        | T::RiskAssessment
        | T::ServiceRequest
        | T::VisionPrescription
        // Medications and vaccines.
        | T::Immunization
        | T::ImmunizationEvaluation
        | T::ImmunizationRecommendation
        | T::Medication
        | T::MedicationAdministration
        | T::MedicationDispense
        | T::MedicationKnowledge
        | T::MedicationRequest
        | T::MedicationStatement
        // Devices, supplies, substances.
        | T::BiologicallyDerivedProduct
        | T::Device
        | T::DeviceDefinition
        | T::DeviceMetric
        | T::DeviceRequest
        | T::DeviceUseStatement
        | T::Substance
        | T::SupplyDelivery
        | T::SupplyRequest
        // What was said, asked, answered, agreed to, and done about it.
        | T::Communication
        | T::CommunicationRequest
        | T::Consent
        | T::GuidanceResponse
        | T::List
        | T::QuestionnaireResponse
        | T::Task
        // Who wrote and who looked.
        | T::AuditEvent
        | T::Provenance
        | T::VerificationResult
        // Research.
        | T::ResearchStudy
        | T::ResearchSubject
        // What fits no other type, and the wrapping of exchange.
        | T::Basic
        | T::Group
        | T::Linkage
        | T::MeasureReport
        | T::MessageHeader
        | T::OperationOutcome
        | T::Parameters
        | T::Subscription
        // Definitions: rare in a patient's record, but part of it when they are there.
        | T::ActivityDefinition
        | T::CapabilityStatement
        | T::CatalogEntry
        | T::CodeSystem
        | T::CompartmentDefinition
        | T::ConceptMap
        | T::EffectEvidenceSynthesis
        | T::EventDefinition
        | T::Evidence
        | T::EvidenceVariable
        | T::ExampleScenario
        | T::GraphDefinition
        | T::ImplementationGuide
        | T::Library
        | T::Measure
        | T::MedicinalProduct
        | T::MedicinalProductAuthorization
        | T::MedicinalProductContraindication
        | T::MedicinalProductIndication
        | T::MedicinalProductIngredient
        | T::MedicinalProductInteraction
        | T::MedicinalProductManufactured
        | T::MedicinalProductPackaged
        | T::MedicinalProductPharmaceutical
        | T::MedicinalProductUndesirableEffect
        | T::MessageDefinition
        | T::NamingSystem
        | T::ObservationDefinition
        | T::OperationDefinition
        | T::PlanDefinition
        | T::Questionnaire
        | T::ResearchDefinition
        | T::ResearchElementDefinition
        | T::RiskEvidenceSynthesis
        | T::SearchParameter
        | T::SpecimenDefinition
        | T::StructureDefinition
        | T::StructureMap
        | T::SubstanceNucleicAcid
        | T::SubstancePolymer
        | T::SubstanceProtein
        | T::SubstanceReferenceInformation
        | T::SubstanceSourceMaterial
        | T::SubstanceSpecification
        | T::TerminologyCapabilities
        | T::TestReport
        | T::TestScript
        | T::ValueSet => Place::Part(ParameterKey::MedicalRecord),
    }
}
