//! Tests of `subscriber`.
