//! Who speaks: the attributes that traces, metrics and logs of one process share.
//!
//! Written here rather than left to the SDK's detector, which does not decode `%` escapes and whose
//! `with_service_name` would win over the environment.

use opentelemetry::{KeyValue, Value};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::ServiceIdentity;

/// Reads `OTEL_RESOURCE_ATTRIBUTES`: `key=value,key=value`, percent-encoded.
///
/// # Errors
///
/// What is wrong. The specification then drops the whole value, not one entry of it.
pub(crate) fn parse_attributes(list: &str) -> Result<Vec<(String, String)>, String> {
    list.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let (key, value) = entry
                .split_once('=')
                .ok_or_else(|| format!("`{entry}` is not of the form key=value"))?;
            let key = decode(key.trim()).filter(|key| !key.is_empty());
            match (key, decode(value.trim())) {
                (Some(key), Some(value)) => Ok((key, value)),
                _ => Err(format!("`{entry}` has no key, or does not decode to UTF-8")),
            }
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// The attributes of this process: the defaults, then the environment's, the service's name last.
pub(crate) fn attributes(
    identity: &ServiceIdentity,
    service_name: Option<String>,
    listed: Vec<(String, String)>,
) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("service.name", identity.name),
        KeyValue::new("service.version", identity.version),
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        KeyValue::new("deployment.environment.name", "development"),
    ];
    for (key, value) in listed {
        set(&mut attributes, key, value);
    }
    if let Some(name) = service_name {
        set(&mut attributes, "service.name".to_owned(), name);
    }
    attributes
}

fn set(attributes: &mut Vec<KeyValue>, key: String, value: String) {
    match attributes
        .iter_mut()
        .find(|attribute| attribute.key.as_str() == key)
    {
        Some(attribute) => attribute.value = Value::from(value),
        None => attributes.push(KeyValue::new(key, value)),
    }
}

/// The text of one attribute.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == key)
        .map(|attribute| attribute.value.as_str().into_owned())
}
