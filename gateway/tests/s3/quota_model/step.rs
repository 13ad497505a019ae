//! What is done next, chosen at random among what there is to do.

use rand::RngExt;
use rand::rngs::StdRng;

use super::model::{ACCOUNT, BUCKETS, Model, PART_LEN_MIN, Place, Versioning};

/// Few, so that most writes replace something. Those under [`AGING`] are subject to lifecycle rules.
const KEYS: [&str; 5] = ["a", "b", "old/a", "old/b", "c/d"];
/// The only key that forms write to.
pub const FORM_KEY: Place = Place { bucket: 0, key: "up/form" };
pub const RACERS: [&str; 4] = ["race/0", "race/1", "race/2", "race/3"];
/// What expires, in the buckets that have the rule: one that keeps no versions, and one that does.
pub const AGING: &str = "old/";
pub const AGING_BUCKETS: [usize; 2] = [0, 1];
/// Nothing, a byte, the last that is kept in the catalog, the first that is not, several chunks.
const SIZES: [u64; 6] = [0, 1, 8_192, 8_193, 70_000, 200_000];
const UPLOADS_MAX: usize = 4;

/// A source of copies.
#[derive(Debug)]
pub struct Source {
    pub at: Place,
    /// Named when it is not just the current one.
    pub version: Option<String>,
    pub size: u64,
}

#[derive(Debug)]
pub enum Step {
    Put {
        at: Place,
        size: u64,
    },
    /// A body that is not what its digest says.
    PutWrong {
        at: Place,
        size: u64,
    },
    Form {
        size: u64,
    },
    Copy {
        from: Source,
        to: Place,
    },
    Begin {
        at: Place,
    },
    Part {
        upload: usize,
        number: u16,
        size: u64,
    },
    PartCopy {
        upload: usize,
        number: u16,
        from: Source,
        len: u64,
    },
    Complete {
        upload: usize,
        numbers: Vec<u16>,
    },
    Abort {
        upload: usize,
    },
    Delete {
        at: Place,
    },
    DeleteVersion {
        at: Place,
        id: String,
    },
    /// Of one bucket: keys, and versions of them.
    DeleteMany {
        bucket: usize,
        objects: Vec<(Place, Option<String>)>,
    },
    Tag {
        at: Place,
    },
    Version {
        bucket: usize,
        versioning: Versioning,
    },
    /// How much more of bytes (0) or objects (1) fits from now on; all that could be wanted, if `None`.
    Limit {
        owner: usize,
        dimension: usize,
        room: Option<u64>,
    },
    Age,
    /// Writes at the same time.
    Race {
        bucket: usize,
        sizes: [u64; RACERS.len()],
    },
}

impl Step {
    pub fn choose(model: &Model, random: &mut StdRng) -> Self {
        let at = place(random);
        let size = pick(random, &SIZES);
        let step = match random.random_range(0..44) {
            0..=7 => None,
            8 => Some(Self::PutWrong { at, size: size.max(1) }),
            9 | 10 => Some(Self::Form { size: size.max(2) }),
            11..=14 => source(model, random).map(|from| Self::Copy { from, to: at }),
            15 | 16 if model.uploads.len() < UPLOADS_MAX => Some(Self::Begin { at }),
            15..=20 => part(model, random, size),
            21 | 22 => part_copy(model, random),
            23..=26 => complete(model, random),
            27 => open_upload(model, random).map(|upload| Self::Abort { upload }),
            28..=30 => Some(Self::Delete { at }),
            31..=33 => Some(Self::DeleteVersion { at, id: version_id(model, random, at) }),
            34 | 35 => Some(delete_many(model, random, at.bucket)),
            36 => model.current(at).map(|_| Self::Tag { at }),
            37 => Some(version(random)),
            38..=41 => Some(limit(random)),
            42 => Some(Self::Age),
            _ => Some(Self::Race { bucket: at.bucket, sizes: RACERS.map(|_| pick(random, &SIZES)) }),
        };
        step.unwrap_or(Self::Put { at, size })
    }
}

fn pick<T: Copy>(random: &mut StdRng, among: &[T]) -> T {
    among[random.random_range(0..among.len())]
}

fn place(random: &mut StdRng) -> Place {
    Place { bucket: random.random_range(0..BUCKETS.len()), key: pick(random, &KEYS) }
}

/// An object that is there, or an older version that is.
fn source(model: &Model, random: &mut StdRng) -> Option<Source> {
    let places = model.places();
    let at = (!places.is_empty()).then(|| pick(random, &places))?;
    if random.random_bool(0.7) {
        let size = model.current(at)?.size?;
        return Some(Source { at, version: None, size });
    }
    let named: Vec<_> = model.versions_of(at).iter().filter(|version| version.size.is_some()).collect();
    let version = (!named.is_empty()).then(|| pick(random, &named))?;
    Some(Source { at, version: Some(version.id.clone()?), size: version.size? })
}

fn open_upload(model: &Model, random: &mut StdRng) -> Option<usize> {
    (!model.uploads.is_empty()).then(|| random.random_range(0..model.uploads.len()))
}

fn part(model: &Model, random: &mut StdRng, size: u64) -> Option<Step> {
    let upload = open_upload(model, random)?;
    let number = random.random_range(1..=3);
    // Only where it fits: of a large body that is refused, the answer may be lost with the connection.
    let is_large = random.random_bool(0.2) && model.takes_part(upload, number, PART_LEN_MIN);
    Some(Step::Part { upload, number, size: if is_large { PART_LEN_MIN } else { size } })
}

fn part_copy(model: &Model, random: &mut StdRng) -> Option<Step> {
    let upload = open_upload(model, random)?;
    let from = source(model, random).filter(|from| from.size > 0)?;
    let len = random.random_range(1..=from.size);
    Some(Step::PartCopy { upload, number: random.random_range(1..=3), from, len })
}

/// Names some of the parts, perhaps such as make no object.
fn complete(model: &Model, random: &mut StdRng) -> Option<Step> {
    let upload = open_upload(model, random)?;
    let mut numbers: Vec<u16> = model.uploads[upload].parts.keys().copied().collect();
    while numbers.len() > 1 && random.random_bool(0.5) {
        numbers.remove(random.random_range(0..numbers.len()));
    }
    (!numbers.is_empty()).then_some(Step::Complete { upload, numbers })
}

/// A version of a key, or one that need not be there.
fn version_id(model: &Model, random: &mut StdRng, at: Place) -> String {
    let ids: Vec<_> = model.versions_of(at).iter().filter_map(|version| version.id.as_deref()).collect();
    if ids.is_empty() { "null".to_owned() } else { pick(random, &ids).to_owned() }
}

/// Keys that are there and keys that are not, some of them twice, and versions.
fn delete_many(model: &Model, random: &mut StdRng, bucket: usize) -> Step {
    let mut objects = vec![(Place { bucket, key: "missing" }, None)];
    for _ in 0..3 {
        let at = Place { bucket, ..place(random) };
        let version = random.random_bool(0.3).then(|| version_id(model, random, at));
        objects.push((at, version));
    }
    objects.push(objects[1].clone());
    Step::DeleteMany { bucket, objects }
}

/// The first bucket never keeps versions.
fn version(random: &mut StdRng) -> Step {
    let versioning = pick(random, &[Versioning::Enabled, Versioning::Suspended]);
    Step::Version { bucket: random.random_range(1..BUCKETS.len()), versioning }
}

fn limit(random: &mut StdRng) -> Step {
    let dimension = random.random_range(0..2);
    let room = random.random_bool(0.5).then(|| random.random_range(0..[150_000, 4][dimension]));
    Step::Limit { owner: random.random_range(0..=ACCOUNT), dimension, room }
}
