//! Erasure coding: a sealed chunk to n shards, any k of which give it back.
//!
//! Reed-Solomon over GF(2^8), systematic: the k data shards are the sealed chunk cut in k equal pieces (the last ones
//! zero-padded), so that a healthy read only puts them side by side. The matrix is the Vandermonde matrix of the
//! reed-solomon-erasure crate with its top made the identity, as in Backblaze's Java implementation; a golden test holds it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datamesh_types::{GroupId, Profile, SealedId, ShardId};
use reed_solomon_erasure::galois_8::{Field, ReedSolomon};
use reed_solomon_erasure::{Error as CodeError, ReconstructShard};

use crate::frame::append_frame;
use crate::{PipelineError, SHARD_OVERHEAD, ShardAuthKey};

/// All shards are worked on in windows that fit in the processor's second-level cache together.
const WINDOWS_LEN: usize = 256 << 10;
const WINDOW_LEN_MIN: usize = 1 << 10;

/// How many profiles' matrices are kept. A cluster has a handful of profiles in its lifetime.
const KEPT_MAX: usize = 16;
/// Making a matrix costs microseconds for 4+4, but milliseconds for a hundred shards.
static KEPT: Mutex<Vec<Coder>> = Mutex::new(Vec::new());

/// Encodes and decodes for one profile. Cheap to clone and to make again.
#[derive(Clone)]
pub struct Coder {
    profile: Profile,
    /// Absent without parity: there is nothing to compute.
    code: Option<Arc<ReedSolomon>>,
}

impl fmt::Debug for Coder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coder({})", self.profile)
    }
}

impl Coder {
    /// The coder of `profile`. The process shares one matrix for each of the latest profiles.
    pub fn new(profile: Profile) -> Self {
        // A matrix is only ever pushed whole, so a panic elsewhere leaves nothing half-done behind the lock.
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(coder) = kept.iter().find(|coder| coder.profile == profile) {
            return coder.clone();
        }
        let code = (profile.parity() > 0).then(|| {
            let code = ReedSolomon::new(profile.data(), profile.parity());
            Arc::new(code.expect("a profile has data shards, and fewer shards than the field has elements"))
        });
        let coder = Self { profile, code };
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push(coder.clone());
        coder
    }

    /// The profile that this coder is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The n payloads of a sealed chunk, each [`Profile::shard_len`] bytes long, in order of their index.
    pub fn encode(&self, sealed: &[u8]) -> Vec<Vec<u8>> {
        self.encode_with_room(sealed, 0)
    }

    /// The n framed shards of a sealed chunk, in order of their index: [`Self::encode`] and
    /// [`crate::frame_shard`] in one, with one copy. Each shard has memory of its own, which goes when it is dropped.
    pub fn encode_framed(
        &self,
        key: &ShardAuthKey,
        group: GroupId,
        id: SealedId,
        sealed: &[u8],
    ) -> Vec<Bytes> {
        let finish = |(index, mut shard): (usize, Vec<u8>)| {
            append_frame(key, &ShardId { group, sealed: id, index: index as u8 }, &mut shard);
            Bytes::from(shard)
        };
        self.encode_with_room(sealed, SHARD_OVERHEAD).into_iter().enumerate().map(finish).collect()
    }

    /// The payloads, in buffers with room for `more` bytes each.
    fn encode_with_room(&self, sealed: &[u8], more: usize) -> Vec<Vec<u8>> {
        let shard_len = self.profile.shard_len(sealed.len());
        let mut shards: Vec<Vec<u8>> = (0..self.profile.total())
            .map(|index| {
                let mut shard = Vec::with_capacity(shard_len + more);
                shard.extend_from_slice(piece(sealed, index, shard_len));
                shard.resize(shard_len, 0);
                shard
            })
            .collect();
        let (data, parity) = shards.split_at_mut(self.profile.data());
        let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        self.fill_parity(&data, &mut parity.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
        shards
    }

    /// The sealed chunk of `sealed_len` bytes, from any k payloads; `shards` has a place for each of the n.
    ///
    /// When all data shards are there, they are put side by side and nothing is computed. Payloads must have been
    /// checked: a wrong one gives a wrong sealed chunk, which then doesn't open.
    ///
    /// # Errors
    /// `ShardCount`, `ShardLength` or `TooFewShards`.
    pub fn decode(&self, shards: &[Option<Bytes>], sealed_len: usize) -> Result<Vec<u8>, PipelineError> {
        let shard_len = self.profile.shard_len(sealed_len);
        let shards: Vec<Option<&[u8]>> = shards.iter().map(Option::as_deref).collect();
        self.check(&shards, shard_len)?;
        let data = &shards[..self.profile.data()];
        if data.iter().all(Option::is_some) {
            let mut sealed = Vec::with_capacity(sealed_len);
            for shard in data.iter().flatten() {
                let wanted = shard.len().min(sealed_len - sealed.len());
                sealed.extend_from_slice(&shard[..wanted]);
            }
            return Ok(sealed);
        }
        let mut sealed = self.restore_data(&shards, shard_len)?;
        sealed.truncate(sealed_len);
        Ok(sealed)
    }

    /// The payload of shard `index`, from any k of the others. What `shards` holds at `index` itself is not looked at.
    ///
    /// # Errors
    /// `ShardIndex`, `ShardCount`, `ShardLength` or `TooFewShards`.
    pub fn rebuild(&self, shards: &[Option<Bytes>], index: u8) -> Result<Vec<u8>, PipelineError> {
        let at = usize::from(index);
        if at >= self.profile.total() {
            return Err(PipelineError::ShardIndex { profile: self.profile, index });
        }
        let mut shards: Vec<Option<&[u8]>> = shards.iter().map(Option::as_deref).collect();
        if let Some(place) = shards.get_mut(at) {
            *place = None;
        }
        let shard_len = shards.iter().flatten().next().map_or(0, |shard| shard.len());
        self.check(&shards, shard_len)?;
        let mut data = self.restore_data(&shards, shard_len)?;
        if at < self.profile.data() {
            data.copy_within(at * shard_len..(at + 1) * shard_len, 0);
            data.truncate(shard_len);
            return Ok(data);
        }
        self.parity_shard(&mut data, shard_len, at)
    }

    fn check(&self, shards: &[Option<&[u8]>], shard_len: usize) -> Result<(), PipelineError> {
        if shards.len() != self.profile.total() {
            return Err(PipelineError::ShardCount { profile: self.profile, given: shards.len() });
        }
        let present = shards.iter().flatten().count();
        if present < self.profile.data() {
            return Err(PipelineError::TooFewShards { profile: self.profile, present });
        }
        for (index, shard) in shards.iter().enumerate() {
            let len = shard.map_or(shard_len, <[u8]>::len);
            if len != shard_len {
                return Err(PipelineError::ShardLength { index, len, expected: shard_len });
            }
        }
        Ok(())
    }

    fn fill_parity(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        let Some(code) = &self.code else { return };
        for window in self.windows(data[0].len()) {
            let inputs: Vec<&[u8]> = data.iter().map(|shard| &shard[window.clone()]).collect();
            let mut outputs: Vec<&mut [u8]> =
                parity.iter_mut().map(|shard| &mut shard[window.clone()]).collect();
            code.encode_sep(&inputs, &mut outputs).expect("as many equal windows as the profile has shards");
        }
    }

    /// The k data shards side by side, with the missing ones restored from parity. Needs [`Self::check`] first.
    fn restore_data(&self, shards: &[Option<&[u8]>], shard_len: usize) -> Result<Vec<u8>, PipelineError> {
        let k = self.profile.data();
        let mut data = vec![0; k * shard_len];
        if shard_len == 0 {
            return Ok(data);
        }
        for (place, shard) in data.chunks_exact_mut(shard_len).zip(shards) {
            if let Some(shard) = shard {
                place.copy_from_slice(shard);
            }
        }
        let missing = shards[..k].iter().filter(|shard| shard.is_none()).count();
        let Some(code) = self.code.as_ref().filter(|_| missing > 0) else { return Ok(data) };
        // The library wants mutable slices, even of what it only reads.
        let mut parity: Vec<Option<Vec<u8>>> = vec![None; self.profile.parity()];
        let present =
            shards[k..].iter().zip(&mut parity).filter_map(|(shard, copy)| shard.map(|shard| (shard, copy)));
        for (shard, copy) in present.take(missing) {
            *copy = Some(shard.to_vec());
        }
        for window in self.windows(shard_len) {
            let data = data.chunks_exact_mut(shard_len).zip(shards).map(|(place, shard)| match shard {
                Some(_) => Piece::Present(&mut place[window.clone()]),
                None => Piece::Wanted(&mut place[window.clone()]),
            });
            let parity = parity.iter_mut().map(|copy| match copy {
                Some(copy) => Piece::Present(&mut copy[window.clone()]),
                None => Piece::Unknown,
            });
            let mut pieces: Vec<Piece<'_>> = data.chain(parity).collect();
            code.reconstruct_data(&mut pieces).map_err(|source| PipelineError::Code { source })?;
        }
        Ok(data)
    }

    /// Parity shard `at`, alone, from all data shards.
    fn parity_shard(&self, data: &mut [u8], shard_len: usize, at: usize) -> Result<Vec<u8>, PipelineError> {
        let mut wanted = vec![0; shard_len];
        let Some(code) = self.code.as_ref().filter(|_| shard_len > 0) else { return Ok(wanted) };
        for window in self.windows(shard_len) {
            let window_len = window.len();
            let mut pieces: Vec<Piece<'_>> = data
                .chunks_exact_mut(shard_len)
                .map(|shard| Piece::Present(&mut shard[window.clone()]))
                .collect();
            pieces.resize_with(self.profile.total(), || Piece::Ignored(window_len));
            pieces[at] = Piece::Wanted(&mut wanted[window]);
            code.reconstruct(&mut pieces).map_err(|source| PipelineError::Code { source })?;
        }
        Ok(wanted)
    }

    fn windows(&self, shard_len: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let window_len = (WINDOWS_LEN / self.profile.total()).next_multiple_of(64).max(WINDOW_LEN_MIN);
        (0..shard_len).step_by(window_len).map(move |start| start..shard_len.min(start + window_len))
    }
}

/// Data shard `index` of `sealed`, without its padding; nothing for a parity shard.
fn piece(sealed: &[u8], index: usize, shard_len: usize) -> &[u8] {
    let start = (index * shard_len).min(sealed.len());
    &sealed[start..sealed.len().min(start + shard_len)]
}

/// A window of a shard in the eyes of the library's reconstruction.
enum Piece<'a> {
    Present(&'a mut [u8]),
    Wanted(&'a mut [u8]),
    /// Neither there nor wanted.
    Unknown,
    /// Parity that passes for present, of a given length. When all data shards are present the library reads no parity,
    /// and it then doesn't compute this one.
    Ignored(usize),
}

impl ReconstructShard<Field> for Piece<'_> {
    fn len(&self) -> Option<usize> {
        match self {
            Self::Present(bytes) => Some(bytes.len()),
            Self::Ignored(len) => Some(*len),
            Self::Wanted(_) | Self::Unknown => None,
        }
    }

    fn get(&mut self) -> Option<&mut [u8]> {
        match self {
            Self::Present(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn get_or_initialize(&mut self, _len: usize) -> Result<&mut [u8], Result<&mut [u8], CodeError>> {
        match self {
            Self::Present(bytes) => Ok(bytes),
            Self::Wanted(bytes) => Err(Ok(bytes)),
            Self::Ignored(_) => Ok(&mut []),
            Self::Unknown => Err(Err(CodeError::TooFewShardsPresent)),
        }
    }
}

#[cfg(test)]
mod tests;
