//! Conformance suites, an in-memory mesh and temporary databases, for tests only.
