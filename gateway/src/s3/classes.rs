//! Storage classes: which backend each of them means.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_backend::Backend;
use s3s::dto::StorageClass;
use s3s::{S3Result, s3_error};

use crate::retrieve::Backends;

/// What a storage class means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// The backend's name.
    pub backend: String,
    /// Whether space is worth more than time: such chunks are compressed harder.
    pub cold: bool,
    /// Whether what is in it is read only after it was restored.
    pub archive: bool,
}

/// Why a map of storage classes is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageClassesError {
    /// A class that S3 does not know, so that no client could ask for it.
    #[error("{class:?} is no storage class of S3")]
    UnknownClass {
        /// The class.
        class: String,
    },
    /// A class of a backend that is not configured.
    #[error("storage class {class} means backend {backend:?}, which is not configured")]
    UnknownBackend {
        /// The class.
        class: String,
        /// The backend.
        backend: String,
    },
    /// The class that objects have when the client names none.
    #[error("storage class STANDARD means no backend")]
    NoStandard,
}

const KNOWN: [&str; 8] = [
    StorageClass::STANDARD,
    StorageClass::STANDARD_IA,
    StorageClass::REDUCED_REDUNDANCY,
    StorageClass::ONEZONE_IA,
    StorageClass::INTELLIGENT_TIERING,
    StorageClass::GLACIER,
    StorageClass::GLACIER_IR,
    StorageClass::DEEP_ARCHIVE,
];

/// Storage classes and their backends.
#[derive(Clone)]
pub struct StorageClasses(Arc<BTreeMap<String, Class>>);

/// A storage class, resolved.
#[derive(Clone)]
pub(super) struct Class {
    pub name: String,
    pub backend_name: String,
    pub backend: Arc<dyn Backend>,
    pub cold: bool,
    pub archive: bool,
}

impl StorageClasses {
    /// Resolves a map of class names.
    pub fn new(
        classes: impl IntoIterator<Item = (String, Tier)>,
        backends: &Backends,
    ) -> Result<Self, StorageClassesError> {
        let mut resolved = BTreeMap::new();
        for (name, Tier { backend: backend_name, cold, archive }) in classes {
            if !KNOWN.contains(&name.as_str()) {
                return Err(StorageClassesError::UnknownClass { class: name });
            }
            let Some(backend) = backends.get(&backend_name).cloned() else {
                return Err(StorageClassesError::UnknownBackend { class: name, backend: backend_name });
            };
            resolved.insert(name.clone(), Class { name, backend_name, backend, cold, archive });
        }
        if !resolved.contains_key(StorageClass::STANDARD) {
            return Err(StorageClassesError::NoStandard);
        }
        Ok(Self(Arc::new(resolved)))
    }

    /// The class that a request names, STANDARD when it names none.
    ///
    /// # Errors
    /// `InvalidStorageClass`.
    pub(super) fn choose(&self, class: Option<&StorageClass>) -> S3Result<&Class> {
        self.named(class.map_or(StorageClass::STANDARD, StorageClass::as_str))
    }

    /// The backend of a class, and its name.
    pub fn placement(&self, class: &str) -> Option<(&str, &Arc<dyn Backend>)> {
        self.0.get(class).map(|class| (class.backend_name.as_str(), &class.backend))
    }

    /// Whether what is in a class is read only after it was restored.
    pub(super) fn is_archive(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|class| class.archive)
    }

    /// Whether S3 knows a class of that name.
    pub(super) fn is_known(name: &str) -> bool {
        KNOWN.contains(&name)
    }

    /// The class of that name.
    pub(super) fn named(&self, name: &str) -> S3Result<&Class> {
        self.0.get(name).ok_or_else(|| s3_error!(InvalidStorageClass))
    }
}
