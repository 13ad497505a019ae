//! Where sealed chunks go: the trait, and mesh, local, object store and memory behind it.
