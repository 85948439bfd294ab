use super::*;
use crate::QueueError;
use crate::queue::directory::field;
use crate::sync::Ordering;
use proptest::prelude::*;

/// Whatever is in the words of a queue, calls come back.
fn use_it(pool: &Pool, queue: &Queue, consumer: &Consumer) {
    for value in 0..6 {
        let Ok(slot) = pool.lend(8, Wait::Try, Policy::Fail) else { break };
        let Ok(ticket) = slot.publish(Audience::Any) else { break };
        match queue.put(&ticket, Wait::Try) {
            Ok(()) | Err(QueueError::Full { .. } | QueueError::Damaged { .. }) => {}
            Err(error) => {
                assert!(matches!(error, QueueError::Removed { .. }), "{error} at {value}")
            }
        }
        match queue.get(consumer, Wait::from(Duration::from_micros(10))) {
            Ok(ticket) => drop(consumer.redeem(&ticket)),
            Err(
                QueueError::Timeout { .. }
                | QueueError::Damaged { .. }
                | QueueError::Removed { .. },
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let _ = (queue.len(), Queue::list(pool), Queue::open(queue.name(), pool).map(drop));
}

fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0_u64..20, (0_u64..20).prop_map(|low| low | 1 << 63), Just(u64::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_survived(
        mode in prop_oneof![Just(Mode::Work), Just(Mode::Broadcast)],
        begun in 0_u64..6,
        damage in prop::collection::vec((0_usize..140, any_word()), 1..5),
    ) {
        let pool = pool_of(8, 1);
        let queue = Queue::create("hostile", &pool, 3, mode).unwrap();
        let consumer = pool.consumer().unwrap();
        for value in 0..begun {
            put(&queue, value, Audience::Any);
            if value > 1 {
                get(&queue, &consumer);
            }
        }
        for (place, word) in damage {
            let ledger = pool.ledger();
            let word_at = match place {
                0..128 => &ledger.queue(0)[place],
                cell => &ledger.queue_cells()[cell % 3],
            };
            word_at.store(word, Ordering::Relaxed);
        }
        use_it(&pool, &queue, &consumer);
        let _ = queue.remove();
        pool.reap();
        pool.ledger().finish_all_closing();
        let _ = Queue::create("next", &pool, 3, mode);
    }
}

#[test]
fn a_damaged_cell_is_named() {
    let pool = pool_of(4, 1);
    let (queue, consumer) = (work(&pool, 2), pool.consumer().unwrap());
    put(&queue, 0, Audience::Any);
    pool.ledger().queue_cells()[0].store(1 << 63 | 0xABC << 50, Ordering::Relaxed);
    let damaged = queue.get(&consumer, Wait::Try).unwrap_err();
    assert!(matches!(damaged, QueueError::Damaged { field: "cell", .. }), "{damaged}");
    pool.ledger().queue(0)[field::TAIL].store(u64::MAX, Ordering::Relaxed);
    let ticket = publish(&pool, 1, Audience::Any);
    let damaged = queue.put(&ticket, Wait::Try).unwrap_err();
    assert!(matches!(damaged, QueueError::Damaged { field: "tail", .. }), "{damaged}");
}

#[test]
fn an_entry_for_no_slot_is_passed() {
    let pool = pool_of(3, 1);
    let (queue, consumer) = (work(&pool, 2), pool.consumer().unwrap());
    put(&queue, 0, Audience::Any);
    put(&queue, 1, Audience::Any);
    // Three slots take two bits, so a cell can name a fourth.
    pool.ledger().queue_cells()[0].fetch_or(3 << 30, Ordering::Relaxed);
    assert_eq!(drain(&queue, &consumer), [1]);
    assert_eq!(Queue::list(&pool)[0].stale, 1);
}
