use serde_json::Value;

use super::error::Fault;

/// The type of a field's value.
#[derive(Clone, Copy)]
enum Type {
    /// A string that each key has.
    Required,
    String,
    Strings,
    Object,
}

/// The fields of a line. A field of a later version is not among them.
const FIELDS: [(&str, Type); 20] = [
    ("id", Type::Required),
    ("client", Type::Required),
    ("digest", Type::Required),
    ("created", Type::Required),
    ("issued_by", Type::String),
    ("expires", Type::String),
    ("not_before", Type::String),
    ("retires", Type::String),
    ("rotated", Type::String),
    ("replaced_by", Type::String),
    ("rotated_reason", Type::String),
    ("paused", Type::String),
    ("revoked", Type::String),
    ("revoked_by", Type::String),
    ("revoked_reason", Type::String),
    ("scopes", Type::Strings),
    ("name", Type::String),
    ("metadata", Type::Object),
    ("prefix", Type::String),
    ("note", Type::String),
];

/// Explains an error in a line. The texts of serde would repeat a part of it.
pub(super) fn explain(text: &str, error: &serde_json::Error) -> Fault {
    let column = error.column();
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Fault::Json { column };
    };
    let Some(object) = value.as_object() else { return Fault::NotAnObject };
    for (field, wanted) in FIELDS {
        let value = object.get(field).unwrap_or(&Value::Null);
        match wanted {
            Type::Required if !object.contains_key(field) => return Fault::NoField(field),
            Type::Required | Type::String if value.is_string() => {}
            Type::Strings if !object.contains_key(field) => {}
            Type::Strings
                if value.as_array().is_some_and(|all| all.iter().all(Value::is_string)) => {}
            Type::Strings => return Fault::NotStrings(field),
            Type::Object
                if value.as_object().is_some_and(|all| all.values().all(Value::is_string)) => {}
            // `null` counts as no value.
            Type::String | Type::Object if value.is_null() => {}
            Type::Object => return Fault::NotAMap(field),
            Type::Required | Type::String => return Fault::NotAString(field),
        }
    }
    Fault::Field { column }
}
