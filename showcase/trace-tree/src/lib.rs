//! trace-tree
