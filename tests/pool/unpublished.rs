//! A producer that is killed while it fills exposes nothing, and what it published before stays.

use crate::rig::{SIGKILL, assert_sound, chunks, in_state, opened, refused_as, seated, slots};
use shm_pool::{Policy, SlotState, Wait};
use shm_tests::Scene;
use shm_tests::pool::{ticket_of, ticket_word};

#[test]
fn half_a_slot_is_never_readable() {
    let scene = Scene::new("half a slot");
    for pool in [slots(&scene, "slots", 8, 1), chunks(&scene, "chunks", 1)] {
        let mut reader = seated(&scene, &pool);
        let mut dying = opened(&scene, &pool);
        let published: Vec<String> =
            (0..3).map(|_| dying.ask("pool send 2000 all").unwrap()).collect();
        let lent = dying.ask("pool lend 2000 0 block").unwrap();
        dying.ask("pool fill-half").unwrap();

        // Whoever guesses the ticket gets nothing, before and after the death.
        let (slot, generation) = lent.split_once(' ').unwrap();
        let mut guess = ticket_of(&published[0]).unwrap();
        guess.index = slot.parse().unwrap();
        guess.generation = generation.parse().unwrap();
        let guess = format!("pool redeem {}", ticket_word(&guess));
        assert_eq!(refused_as(&mut reader, &guess), "Stale");
        dying.kill();
        assert_eq!(refused_as(&mut reader, &guess), "Stale");
        assert_eq!(in_state(&pool, SlotState::Filling), 1);
        assert_eq!(pool.reap().slots, 1);
        assert_eq!(refused_as(&mut reader, &guess), "Stale");

        assert_eq!(in_state(&pool, SlotState::Shared), 3);
        for ticket in &published {
            reader.ask(&format!("pool redeem {ticket}")).unwrap();
        }
        assert_eq!(reader.ask("pool verify").unwrap(), "3");
        reader.ask("pool release").unwrap();
        assert_eq!(pool.stats().free, pool.slots());
        assert_sound(&pool, "after half a slot");
    }
}

#[test]
fn a_batch_is_published_whole_or_not_at_all() {
    let scene = Scene::new("batch");
    for (point, published) in [
        ("lend.claimed", false),
        ("fill.half", false),
        ("batch.linked", false),
        ("batch.half", false),
        ("publish.shared", true),
        ("publish.done", true),
    ] {
        for pool in [slots(&scene, "slots", 8, 1), chunks(&scene, "chunks", 1)] {
            let mut reader = seated(&scene, &pool);
            let mut dying = opened(&scene, &pool);
            dying.ask(&format!("arm {point} kill {}", if published { 1 } else { 2 })).unwrap();
            match point {
                "fill.half" => {
                    // By copying, which is where that point is.
                    dying.ask("pool lend 1000 0 block").unwrap();
                    dying.ask("pool lend 1000 0 block").unwrap();
                    dying.send("pool fill");
                }
                // Passed once by each batch.
                "batch.linked" => {
                    dying.ask("pool batch 1002 1000 any").unwrap();
                    dying.send("pool batch 1003 1000 1000 all");
                }
                _ => dying.send("pool batch 1003 1000 1000 all"),
            }
            assert_eq!(dying.ended_by(), SIGKILL, "{point}");
            pool.reap();
            assert_sound(&pool, point);
            let stats = pool.stats();
            let earlier = usize::from(point == "batch.linked");
            assert_eq!(stats.shared, usize::from(published) + earlier, "{point}: {stats:?}");
            assert_eq!(stats.linked, 2 * usize::from(published) + earlier, "{point}: {stats:?}");
            if published {
                assert_eq!(reader.ask("pool drain").unwrap(), "1", "{point}: all three, verified");
                assert_eq!(pool.stats().free, pool.slots(), "{point}");
            }
        }
    }
}

#[test]
fn nothing_of_the_dead_is_lent_twice() {
    let scene = Scene::new("after the dead");
    let pool = slots(&scene, "pool", 4, 1);
    for round in 0..20 {
        let mut dying = opened(&scene, &pool);
        for _ in 0..4 {
            dying.ask("pool lend 2000 0 block").unwrap();
        }
        dying.ask("pool fill").unwrap();
        dying.kill();
        let mut slots = Vec::new();
        for at in 0..4 {
            let mut slot = pool
                .lend(2000, Wait::from(std::time::Duration::from_secs(20)), Policy::Block)
                .unwrap_or_else(|error| panic!("round {round}, {at}: {error}"));
            slot.bytes_mut().fill(at);
            slots.push(slot);
        }
        for (at, slot) in slots.iter_mut().enumerate() {
            assert!(slot.bytes_mut().iter().all(|&byte| byte == at as u8));
        }
    }
    assert_eq!(pool.stats().reclaimed, 80);
    assert_sound(&pool, "after twenty deaths");
}
