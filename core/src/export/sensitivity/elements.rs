//! Where a record says what it is about: the elements in which labels and codes are looked for.

/// What an element of a resource tells about its sensitivity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// Security labels.
    Labels,
    /// One code of v3 Confidentiality, without its system.
    Confidentiality,
    /// What the record is about: all codings in it count, however deep.
    About,
    /// Whole resources.
    Resources,
    /// Whole resources, each in the `resource` of an item.
    Entries,
}

/// What the top-level element of this name tells, whatever the resource type.
///
/// Not among them, on purpose: body sites, methods, performers' roles, statuses, units; and
/// `Consent.provision`, which names what is allowed, not what is.
pub(super) fn element(name: &str) -> Option<Element> {
    let element = match name {
        // A sensitivity code among the tags was meant as a label.
        "meta" | "securityLabel" => Element::Labels,
        "confidentiality" => Element::Confidentiality,
        "contained" => Element::Resources,
        "entry" | "parameter" => Element::Entries,
        // What kind of thing it is: Condition.code, Encounter.type, DocumentReference.category, …
        "code" | "type" | "subType" | "category" | "codeCodeableConcept" | "topic"
        // Which service: appointments, encounters, schedules.
        | "serviceType" | "serviceCategory" | "specialty" | "appointmentType" | "programCode"
        | "procedureCode" | "orderDetail"
        // Why.
        | "reason" | "reasonCode" | "reasonCodeableConcept" | "statusReason" | "indication"
        // What was claimed: Claim and ExplanationOfBenefit, ChargeItem, Invoice.
        | "diagnosis" | "procedure" | "item" | "addItem" | "supportingInfo" | "productOrService"
        | "productCodeableConcept" | "lineItem"
        // What was given.
        | "medicationCodeableConcept" | "ingredient" | "vaccineCode" | "protocolApplied"
        | "targetDisease" | "recommendation" | "itemCodeableConcept" | "suppliedItem" | "usedCode"
        | "substance"
        // What was found. An answer says as much as the question: "HIV positive".
        | "component" | "valueCodeableConcept" | "conclusionCode" | "finding" | "prediction"
        | "condition" | "evidence" | "manifestation" | "reaction" | "complication" | "outcome"
        | "outcomeCode" | "morphology" | "investigation" | "mitigation"
        // What it contains or plans: documents, care plans, goals, tasks.
        | "event" | "context" | "section" | "description" | "activity" | "action" | "input"
        | "output" => Element::About,
        _ => return None,
    };
    Some(element)
}
