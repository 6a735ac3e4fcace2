//! What a log must hold after a crash: claims, and how they are compared with a log.
//!
//! Invariant: the value of a record names its offset and the life (the run between two crashes or
//! truncations) it was written in, so that no record passes for another.

use std::rc::Rc;

use super::super::harness::Opened;

/// Which life wrote each offset of a log.
pub(in super::super) type Lives = Rc<Vec<u8>>;

/// What one possible history demands.
#[derive(Clone, Debug)]
pub(in super::super) struct Claim {
    /// The log is a prefix of this.
    pub(in super::super) lives: Lives,
    /// The least and the greatest log start.
    pub(in super::super) starts: (u64, u64),
    /// No shorter than this after a kill.
    pub(in super::super) kill: u64,
    /// No shorter than this after a power cut.
    pub(in super::super) cut: u64,
}

impl Claim {
    /// Of an empty log.
    pub(in super::super) fn empty() -> Claim {
        Claim { lives: Lives::default(), starts: (0, 0), kill: 0, cut: 0 }
    }

    /// What it demands of an image that a power cut has left.
    pub(in super::super) fn after_cut(&self) -> Claim {
        Claim { kill: self.cut, ..self.clone() }
    }

    /// Everything that `log` holds, and no less.
    pub(in super::super) fn settled(lives: &[u8], start: u64) -> Claim {
        let end = lives.len() as u64;
        Claim { lives: Rc::new(lives.to_vec()), starts: (start, start), kill: end, cut: end }
    }
}

/// A life of short records.
pub(in super::super) const SHORT: u8 = 200;

/// The value of the record at `offset`, written in `life`.
pub(in super::super) fn value(offset: u64, life: u8) -> String {
    if life == SHORT {
        return format!("short {offset}");
    }
    format!("life {life} offset {offset} {}", "x".repeat((offset * 37 % 211) as usize))
}

/// Compares a log with the claims; answers its log start and which life wrote each offset below its end
/// (0 below the start).
pub(in super::super) fn compare(log: &Opened, claims: &[Claim]) -> Result<(u64, Vec<u8>), String> {
    let (start, end) = (log.log.log_start(), log.log.log_end());
    let records = log.read_from(start).map_err(|e| format!("unreadable: {e}"))?;
    if records.iter().map(|(offset, _)| *offset).ne(start..end) {
        let offsets: Vec<u64> = records.iter().map(|(offset, _)| *offset).collect();
        return Err(format!("the log says {start}..{end}, but holds {offsets:?}"));
    }
    let mut refused = Vec::new();
    for claim in claims {
        match agrees(claim, start, end, &records) {
            Ok(()) => return Ok((start, claim.lives[..end as usize].to_vec())),
            Err(why) => refused.push(why),
        }
    }
    Err(refused.join("; or "))
}

fn agrees(claim: &Claim, start: u64, end: u64, records: &[(u64, String)]) -> Result<(), String> {
    if start < claim.starts.0 || start > claim.starts.1 {
        return Err(format!("log start {start} outside {:?}", claim.starts));
    }
    if end < claim.kill || end > claim.lives.len() as u64 {
        return Err(format!("log end {end} outside {}..={}", claim.kill, claim.lives.len()));
    }
    let wrong =
        records.iter().find(|(offset, found)| *found != value(*offset, claim.lives[*offset as usize]));
    wrong.map_or(Ok(()), |(offset, found)| Err(format!("offset {offset} holds {found:?}")))
}
