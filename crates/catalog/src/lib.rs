//! Buckets, versions, manifests, chunk references, uploads and placement groups.
