//! Keys, and what they are hashed to.

use super::error::StoreError;
use super::index::Hash;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1024;

/// Hashes keys for one store: the seed is random, so nobody can choose keys that collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasher {
    seed: u64,
}

impl Hasher {
    /// For the store with that random id.
    pub(crate) fn new(instance: [u8; 16]) -> Hasher {
        let [low, high] = bytemuck::cast::<[u8; 16], [u64; 2]>(instance);
        Hasher { seed: low.wrapping_add(high.rotate_left(32)) }
    }

    /// The hash of a key. The whole key is compared again when an entry is read.
    pub(crate) fn hash(self, key: &[u8]) -> Hash {
        let hash = xxh3_128_with_seed(key, self.seed);
        [hash as u64, (hash >> 64) as u64]
    }
}

/// Refuses keys that no entry can have.
pub(crate) fn check(name: &str, key: &[u8]) -> Result<(), StoreError> {
    match key.len() {
        1..=MAX_KEY => Ok(()),
        found => Err(StoreError::Key { name: name.to_owned(), found }),
    }
}

/// A key as text, for messages: keys that are no text are shown in hexadecimal, long ones cut.
pub(crate) fn shown(key: &[u8]) -> String {
    const SHOWN: usize = 64;
    let text = core::str::from_utf8(key).ok().filter(|text| !text.contains(char::is_control));
    let shown = match text {
        Some(text) => text.chars().take(SHOWN).collect::<String>(),
        None => key.iter().take(SHOWN / 2).map(|byte| format!("{byte:02x}")).collect(),
    };
    let whole = match text {
        Some(text) => shown.len() == text.len(),
        None => key.len() <= SHOWN / 2,
    };
    if whole { shown } else { format!("{shown}… ({} bytes)", key.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_short() {
        assert_eq!(shown(b"layer-3"), "layer-3");
        assert_eq!(shown(&[0xff, 0x00]), "ff00");
        assert_eq!(shown(&[7; 1024]), format!("{}… (1024 bytes)", "07".repeat(32)));
        assert_eq!(shown("ä".repeat(65).as_bytes()), format!("{}… (130 bytes)", "ä".repeat(64)));
    }

    #[test]
    fn stores_hash_differently() {
        let instances = [[1; 16], [2; 16], core::array::from_fn(|byte| byte as u8)];
        let hashes = instances.map(|instance| Hasher::new(instance).hash(b"k"));
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
        assert_eq!(Hasher::new(instances[0]).hash(b"k"), hashes[0]);
    }
}
