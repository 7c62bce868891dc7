//! Where records of every type belong.

use super::*;

/// Every type of R4 and the parts it goes with, when nothing inside says otherwise.
const PLACES: &[(&[&str], &str)] = &[
    (
        &["always"],
        "Patient Person RelatedPerson Practitioner PractitionerRole Organization OrganizationAffiliation Location \
         HealthcareService Endpoint Observation DiagnosticReport",
    ),
    (
        &["visits"],
        "Encounter EpisodeOfCare Procedure Appointment AppointmentResponse Schedule Slot",
    ),
    (&["labs"], "Specimen"),
    (&["radiology"], "ImagingStudy"),
    (
        &["other"],
        "DocumentReference DocumentManifest Composition Media",
    ),
    (
        &[
            "medicalRecord",
            "dischargeSummary",
            "operative",
            "pathology",
            "radiology",
            "photographs",
            "radiation",
            "other",
        ],
        "Binary Bundle",
    ),
    (
        &["billing"],
        "Account ChargeItem ChargeItemDefinition Claim ClaimResponse Contract Coverage CoverageEligibilityRequest \
         CoverageEligibilityResponse EnrollmentRequest EnrollmentResponse ExplanationOfBenefit InsurancePlan Invoice \
         PaymentNotice PaymentReconciliation",
    ),
    (
        &["medicalRecord"],
        "ActivityDefinition AdverseEvent AllergyIntolerance AuditEvent Basic BiologicallyDerivedProduct BodyStructure \
         CapabilityStatement CarePlan CareTeam CatalogEntry ClinicalImpression CodeSystem Communication \
         CommunicationRequest CompartmentDefinition ConceptMap Condition Consent DetectedIssue Device DeviceDefinition \
         DeviceMetric DeviceRequest DeviceUseStatement EffectEvidenceSynthesis EventDefinition Evidence \
         EvidenceVariable ExampleScenario FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse \
         Immunization ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide Library Linkage List \
         Measure MeasureReport Medication MedicationAdministration MedicationDispense MedicationKnowledge \
         MedicationRequest MedicationStatement MedicinalProduct MedicinalProductAuthorization \
         MedicinalProductContraindication MedicinalProductIndication MedicinalProductIngredient \
         MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged \
         MedicinalProductPharmaceutical MedicinalProductUndesirableEffect MessageDefinition MessageHeader \
         MolecularSequence NamingSystem NutritionOrder ObservationDefinition OperationDefinition OperationOutcome \
         Parameters PlanDefinition Provenance Questionnaire QuestionnaireResponse RequestGroup ResearchDefinition \
         ResearchElementDefinition ResearchStudy ResearchSubject RiskAssessment RiskEvidenceSynthesis SearchParameter \
         ServiceRequest SpecimenDefinition StructureDefinition StructureMap Subscription Substance \
         SubstanceNucleicAcid SubstancePolymer SubstanceProtein SubstanceReferenceInformation \
         SubstanceSourceMaterial SubstanceSpecification SupplyDelivery SupplyRequest Task TerminologyCapabilities \
         TestReport TestScript ValueSet VerificationResult VisionPrescription",
    ),
];

#[test]
fn every_type_goes_with_its_part() {
    let mut seen = Vec::new();
    for (parts, names) in PLACES {
        for name in names.split_whitespace() {
            seen.push(name);
            for &key in ParameterKey::ALL {
                let selection = Selection::new(
                    Choices::from_json(&json!({"parameters": {key.key(): {"enabled": true}}}))
                        .unwrap(),
                    SensitivityRules::none(),
                );
                let expected = parts.contains(&key.key()) || *parts == ["always"];
                assert_eq!(
                    goes(&selection, &json!({"resourceType": name})),
                    expected,
                    "{name} {key:?}"
                );
                let resource_type = ResourceType::parse(name).unwrap();
                assert!(!expected || selection.may_include(resource_type), "{name}");
            }
        }
    }
    seen.sort_unstable();
    let all: Vec<_> = ResourceType::ALL.iter().map(|each| each.as_str()).collect();
    assert_eq!(seen, all);
}

#[test]
fn every_code_of_the_file_leads_to_its_part() {
    let codes = kinds::tests::all_codes();
    assert!(codes.len() > 100, "{}", codes.len());
    for (part, is_type, system, code) in codes {
        let concept = json!({"coding": [{"system": system, "code": code}]});
        let (document, report) = if is_type {
            (
                json!({"resourceType": "DocumentReference", "type": concept}),
                json!({"resourceType": "DiagnosticReport", "code": concept}),
            )
        } else {
            let with = |name: &str| json!({"resourceType": name, "category": [concept]});
            (with("DocumentReference"), with("DiagnosticReport"))
        };
        assert_eq!(
            DocumentRules::standard().report_part(&record(&report)),
            Some(part),
            "{report}"
        );
        let expected = if part.group() == 2 {
            part
        } else {
            ParameterKey::Other
        };
        assert_eq!(
            DocumentRules::standard().document_part(&record(&document)),
            expected,
            "{document}"
        );
    }
}

#[test]
fn pictures_are_photographs_unless_their_type_says_otherwise() {
    let document = |content: &str, extra: Value| {
        let mut document = json!({"resourceType": "DocumentReference",
            "content": [{"attachment": {"contentType": content}}]});
        for (name, value) in extra.as_object().unwrap() {
            document[name] = value.clone();
        }
        DocumentRules::standard().document_part(&record(&document))
    };
    let typed = |code: &str| json!({"type": {"coding": [{"system": LOINC, "code": code}]}});
    assert_eq!(document("image/jpeg", json!({})), ParameterKey::Photographs);
    assert_eq!(document("IMAGE/PNG", json!({})), ParameterKey::Photographs);
    assert_eq!(document("image/tiff", json!({})), ParameterKey::Other);
    assert_eq!(document("application/pdf", json!({})), ParameterKey::Other);
    assert_eq!(
        document("image/jpeg", typed("11506-3")),
        ParameterKey::Other
    );
    assert_eq!(
        document("image/jpeg", typed("18748-4")),
        ParameterKey::Radiology
    );
    assert_eq!(
        document("application/pdf", typed("72170-4")),
        ParameterKey::Photographs
    );
    let category = json!({"type": {"text": "x"}, "category": [{"coding": [{"system": "urn:h", "code": "clinical-photo"}]}]});
    assert_eq!(document("image/tiff", category), ParameterKey::Photographs);
    // A type among the categories counts too.
    let category = json!({"category": [{"coding": [{"system": LOINC, "code": "18842-5"}]}]});
    assert_eq!(
        document("text/plain", category),
        ParameterKey::DischargeSummary
    );
}
