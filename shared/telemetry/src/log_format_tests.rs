//! Tests of `log_format`.
