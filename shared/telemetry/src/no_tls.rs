//! In the place of `tls` where that is not compiled in: `settings` refuses what would need it.

use opentelemetry_otlp::{WithHttpConfig, WithTonicConfig};

use crate::settings::Tls;

/// Nothing can go wrong that `settings` has not refused.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {}

pub(crate) fn http<B: WithHttpConfig>(builder: B, _: &Tls) -> Result<B, TlsError> {
    Ok(builder)
}

pub(crate) fn grpc<B: WithTonicConfig>(builder: B, _: &Tls) -> Result<B, TlsError> {
    Ok(builder)
}
