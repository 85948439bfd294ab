//! Tickets travel by any channel, so what comes back may be anything.

use proptest::prelude::*;
use shm_pool::{
    Audience, Consumer, Policy, Pool, PoolConfig, RedeemError, RevokeError, Ticket, Wait,
};

fn pool() -> (Pool, Consumer) {
    let config = PoolConfig::slots(4, 256).unwrap();
    let pool = Pool::process_local("test-tickets", &config).unwrap();
    let consumer = pool.consumer().unwrap();
    (pool, consumer)
}

fn publish(pool: &Pool) -> Ticket {
    let slot = pool.lend(100, Wait::Try, Policy::Fail).unwrap();
    slot.publish(Audience::Everyone).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn forty_bytes_are_a_ticket(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
        match Ticket::from_bytes(&bytes) {
            Ok(ticket) => prop_assert_eq!(&ticket.to_bytes()[..], &bytes[..]),
            Err(error) => {
                prop_assert_ne!(bytes.len(), Ticket::LEN);
                prop_assert_eq!(error.found, bytes.len());
            }
        }
        if bytes.len() >= Ticket::LEN {
            // Wherever they lie.
            let end = &bytes[bytes.len() - Ticket::LEN..];
            prop_assert_eq!(&Ticket::from_bytes(end).unwrap().to_bytes()[..], end);
        }
    }

    #[test]
    fn a_damaged_ticket_changes_nothing(at in 0..28_usize, flip in 1..=255_u8) {
        let (pool, consumer) = pool();
        let (first, second) = (publish(&pool), publish(&pool));
        let mut bytes = first.to_bytes();
        bytes[at] ^= flip;
        let damaged = Ticket::from_bytes(&bytes).unwrap();
        // Another slot's first generation is the other publication.
        prop_assume!(damaged.index != second.index);
        let (before, fsck) = (pool.stats(), pool.fsck().problems);
        let refused = consumer.redeem(&damaged).unwrap_err();
        prop_assert!(matches!(pool.revoke(&damaged), Err(RevokeError::Ticket(_))), "revoked");
        match refused {
            RedeemError::Foreign { .. } => prop_assert!(at < 16),
            RedeemError::Stale { generation, found, .. } => {
                prop_assert!(at >= 16 && generation == damaged.generation && found != generation);
            }
            RedeemError::NoSlot { slot, slots, .. } => {
                prop_assert!(slot == damaged.index as usize && slots == 4 && slot >= slots);
            }
            other => prop_assert!(false, "{}", other),
        }
        prop_assert_eq!((pool.stats().shared, pool.fsck().problems), (before.shared, fsck));
        for ticket in [first, second] {
            consumer.redeem(&ticket).unwrap().release();
        }
        prop_assert_eq!(pool.stats().free, 4);
    }

    #[test]
    fn any_ticket_is_refused(
        numbers in any::<(u64, u32, u32, u64)>(), small in any::<bool>(), own in any::<bool>(),
    ) {
        let (pool, consumer) = pool();
        let published = publish(&pool);
        let (generation, index, parts, byte_len) = numbers;
        let instance = if own { pool.instance() } else { [index as u8; 16] };
        let (generation, index) =
            if small { (generation % 3, index % 6) } else { (generation, index) };
        let ticket = Ticket { instance, generation, index, parts, byte_len };
        let right = own && (generation, index) == (published.generation, published.index);
        prop_assert_eq!(consumer.redeem(&ticket).is_ok(), right);
        let _ = consumer.redeem_batch(&ticket);
        prop_assert_eq!(pool.stats().free, if right { 4 } else { 3 });
    }
}

#[test]
fn a_batch_has_as_many_parts_as_it_has() {
    let (pool, consumer) = pool();
    let batch = pool.lend_many(&[1, 2], Wait::Try, Policy::Fail).unwrap();
    let ticket = batch.publish(Audience::Everyone).unwrap();
    let lying = Ticket { parts: 3, ..ticket };
    let refused = consumer.redeem_batch(&lying);
    assert!(matches!(refused, Err(RedeemError::Damaged { .. })), "{refused:?}");
}
