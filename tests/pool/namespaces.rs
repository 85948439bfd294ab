//! Who lives and who owns does not depend on where a process looks from.

use crate::rig::{assert_sound, moved, opened, refused_as, seated, slots, until};
use shm_pool::{CreateError, Pool, PoolConfig};
use shm_tests::Scene;

#[test]
fn an_owner_in_another_pid_namespace_is_an_owner() {
    let test = "pool::namespaces::an_owner_in_another_pid_namespace_is_an_owner";
    let scene = Scene::new(test);
    let Some(mut inside) = moved(&scene, test) else { return };
    let name = scene.name("pool");
    inside.ask(&format!("pool create {name} slots 4 512 1 1000")).unwrap();
    let config = PoolConfig::slots(4, 512).unwrap();
    assert!(matches!(Pool::create(&name, &config), Err(CreateError::AlreadyOwned { .. })));
    assert!(shm_pool::remove(&name).is_err());
    assert_eq!(shm_core::gc(scene.prefix(), false).unwrap().removed, Vec::<String>::new());
    inside.ask("pool join").unwrap();
    inside.ask("pool send 104 all").unwrap();
    assert_eq!(inside.ask("pool drain").unwrap(), "1", "and is unharmed");
    inside.ask("close").unwrap();

    // The other way round: seen from inside, the owner outside has no process id at all.
    let pool = slots(&scene, "pool", 4, 1);
    let command = format!("pool create {name} slots 4 512 1 1000");
    assert_eq!(refused_as(&mut inside, &command), "AlreadyOwned");
    assert_eq!(refused_as(&mut inside, &format!("pool remove {name}")), "Owned");
    assert_eq!(pool.stats().free, 4);
    println!("two pid namespaces: one owner, twice");
}

#[test]
fn the_living_are_not_robbed_and_the_dead_are_reaped_across_pid_namespaces() {
    let test =
        "pool::namespaces::the_living_are_not_robbed_and_the_dead_are_reaped_across_pid_namespaces";
    let scene = Scene::new(test);
    let Some(mut inside) = moved(&scene, test) else { return };
    let pool = slots(&scene, "pool", 4, 2);
    let mut outside = seated(&scene, &pool);
    inside.ask(&format!("pool open {}", pool.name())).unwrap();
    inside.ask("pool join").unwrap();
    let ticket = opened(&scene, &pool).ask("pool send 904 all").unwrap();
    pool.reap();
    for peer in [&mut inside, &mut outside] {
        peer.ask(&format!("pool redeem {ticket}")).unwrap();
        peer.ask("pool lend 900 0 block").unwrap();
        peer.ask("pool fill").unwrap();
    }
    for _ in 0..3 {
        assert_eq!((pool.reap().members, pool.reap().consumers), (0, 0));
        assert_eq!(inside.ask("pool reap").unwrap(), "0 0 0");
    }
    inside.ask("pool check").unwrap();
    assert_eq!(inside.ask("pool verify").unwrap(), "1");

    outside.kill();
    assert_eq!(inside.ask("pool reap").unwrap(), "1 1 1", "seen from inside");
    assert_eq!(inside.ask("pool verify").unwrap(), "1");
    inside.kill();
    drop(inside);
    until("seen from outside", || {
        pool.reap();
        pool.stats().free == 4
    });
    assert_sound(&pool, "after both");
}
