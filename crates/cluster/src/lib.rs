//! Placement groups, quorum writes, degraded reads, repair: the pipeline over the mesh.
