//! throughline
