//! The commands of a peer that begin with `pool`.
//!
//! | command                                     | does                                             |
//! |---------------------------------------------|--------------------------------------------------|
//! | `create NAME KIND A B CONSUMERS OVERDUE_MS` | `slots COUNT SIZE` or `chunks CAPACITY GRANULE`  |
//! | `open NAME`, `consume NAME`                 | opens with full access; as a consumer only       |
//! | `join`, `join SEAT`, `leave`                | takes one more seat; gives up all                |
//! | `lend BYTES MS POLICY`                      | lends and keeps a slot: answers slot, generation |
//! | `fill`, `fill-half`, `check`                | what is kept; that it is untouched               |
//! | `publish TO`, `abort`                       | the first of them: answers its ticket; all       |
//! | `send BYTES TO`, `batch BYTES... TO`        | lends, fills and publishes                       |
//! | `redeem T`, `redeem-batch T`, `verify`      | holds it, verified; all that is held, again      |
//! | `release`, `release-one T`                  | all that is held; one                            |
//! | `request BYTES`, `nap MS`, `give-up`        | a place in the line                              |
//! | `reap`, `stats`, `fsck`, `describe`         | as they say                                      |
//! | `revoke T`, `unlink`, `remove NAME`, `recycle` | as they say                                   |
//! | `produce TO`, `consume-all`, `revoke-any`   | until the next line: see [`super::traffic`]      |
//! | `drain`                                     | verifies and releases all that waits for it      |
//! | `mail-to NAMES... TO`, `mail-from NAME`     | until the next line: tickets by datagram         |
//! | `queue-...`, `store-...`                    | see [`super::queueing`], [`super::storing`]      |
//! | `over-exchange NAME`                        | a storage of one's own: see [`super::shared_file`] |
//! | `scribble PART SECONDS`, `endure`           | see [`super::scribble`]                          |
//!
//! `TO` is `all`, `any`, `mixed` or a mask of seats in hexadecimal.

use super::actor::{Done, PoolActor, Refusal};
use super::{scribble, shared_file};
use shm_pool::{Audience, Policy, PoolConfig, Wait};
use std::time::Duration;

/// Acts on one line, without the word `pool`. `stop` tells whether the next line has come, `begun`
/// answers that something goes on until then.
pub(crate) fn act(
    actor: &mut PoolActor,
    words: &[&str],
    begun: &dyn Fn(),
    stop: &dyn Fn() -> bool,
) -> Done {
    match *words {
        ["create", name, kind, a, b, consumers, overdue] => {
            let config = config(kind, number(a)?, number(b)?)?
                .consumers(number(consumers)?)?
                .overdue_after(Duration::from_millis(number(overdue)? as u64));
            actor.create(name, config)
        }
        ["open", name] => actor.open(name),
        ["consume", name] => actor.consume(name),
        ["join"] => actor.join(None),
        ["join", seat] => actor.join(Some(number(seat)?)),
        ["leave"] => actor.leave(),
        ["lend", bytes, ms, policy] => actor.lend(number(bytes)?, wait(ms)?, self::policy(policy)?),
        ["fill"] => actor.fill(false),
        ["fill-half"] => actor.fill(true),
        ["check"] => actor.check(),
        ["publish", to] => actor.publish(audience(to)?),
        ["abort"] => actor.abort(),
        ["send", bytes, to] => actor.send(number(bytes)?, audience(to)?),
        ["batch", ref bytes @ .., to] => {
            let bytes: Result<Vec<usize>, Refusal> =
                bytes.iter().map(|word| number(word)).collect();
            actor.batch(&bytes?, audience(to)?)
        }
        ["redeem", ticket] => actor.redeem(ticket),
        ["redeem-batch", ticket] => actor.redeem_batch(ticket),
        ["verify"] => actor.verify(),
        ["release"] => actor.release(),
        ["release-one", ticket] => actor.release_one(ticket),
        ["request", bytes] => actor.request(number(bytes)?),
        ["nap", ms] => actor.nap(Duration::from_millis(number(ms)? as u64)),
        ["give-up"] => actor.give_up(),
        ["reap"] => actor.reap(),
        ["stats"] => actor.stats(),
        ["fsck"] => actor.fsck(),
        ["describe"] => actor.describe(),
        ["revoke", ticket] => actor.revoke(ticket),
        ["unlink"] => actor.unlink(),
        ["remove", name] => Ok(shm_pool::remove(name).map(|()| String::new())?),
        ["recycle"] => actor.recycle(),
        ["drain"] => actor.drain(),
        ["produce", to] => {
            begun();
            actor.produce(to, stop)
        }
        ["consume-all"] => {
            begun();
            actor.consume_all(stop)
        }
        ["revoke-any"] => {
            begun();
            actor.revoke_any(stop)
        }
        ["mail-to", ref names @ .., to] => {
            begun();
            actor.mail_to(names, to, stop)
        }
        ["mail-from", name] => actor.mail_from(name, begun, stop),
        ["queue-create", name, maxsize, mode] => actor.queue_create(name, number(maxsize)?, mode),
        ["queue-open", name] => actor.queue_open(name),
        ["queue-remove"] => actor.queue_remove(),
        ["queue-put", bytes, ms] => actor.queue_put(number(bytes)?, number(ms)? as u64),
        ["queue-get", ms] => actor.queue_get(number(ms)? as u64),
        ["queue-get-rest"] => actor.get_rest(),
        ["queue-put-all"] => {
            begun();
            actor.put_all(stop)
        }
        ["queue-get-all"] => {
            begun();
            actor.get_all(stop)
        }
        ["store-create", name, capacity, granule] => {
            actor.store_create(name, number(capacity)?, number(granule)?)
        }
        ["store-open", name] => actor.store_open(name),
        ["store-put", key, bytes, ms] => {
            actor.store_put(number(key)? as u32, number(bytes)?, number(ms)? as u64)
        }
        ["store-half", key, bytes] => actor.store_half(number(key)? as u32, number(bytes)?),
        ["store-get", key, ms] => actor.store_get(number(key)? as u32, number(ms)? as u64),
        ["store-verify"] => actor.store_verify(),
        ["store-release"] => actor.store_release(),
        ["store-remove", key] => actor.store_remove(number(key)? as u32),
        ["store-check"] => actor.store_check(),
        ["store-any"] => {
            begun();
            actor.store_any(stop)
        }
        ["over-exchange", name] => shared_file::exchange(name, begun, stop),
        ["scribble", name, part, seconds] => {
            begun();
            scribble::scribble(name, part, number(seconds)? as u64)
        }
        ["endure-store", seconds] => {
            begun();
            actor.endure_store(number(seconds)? as u64)
        }
        ["endure", seconds] => {
            begun();
            actor.endure(number(seconds)? as u64)
        }
        _ => Err(Refusal::of("Command", format!("unknown: pool {words:?}"))),
    }
}

fn config(kind: &str, a: usize, b: usize) -> Result<PoolConfig, Refusal> {
    match kind {
        "slots" => Ok(PoolConfig::slots(a, b)?),
        "chunks" => Ok(PoolConfig::chunks(a)?.granule(b)?),
        other => Err(Refusal::of("Command", format!("no kind '{other}'"))),
    }
}

pub(super) fn audience(word: &str) -> Result<Audience, Refusal> {
    match word {
        "all" => Ok(Audience::Everyone),
        "any" => Ok(Audience::Any),
        mask => Ok(Audience::Seats(u64::from_str_radix(mask, 16)?)),
    }
}

fn policy(word: &str) -> Result<Policy, Refusal> {
    match word {
        "block" => Ok(Policy::Block),
        "fail" => Ok(Policy::Fail),
        "drop" => Ok(Policy::DropOldestUnread),
        other => Err(Refusal::of("Command", format!("no policy '{other}'"))),
    }
}

fn wait(ms: &str) -> Result<Wait, Refusal> {
    match number(ms)? {
        0 => Ok(Wait::Try),
        ms => Ok(Wait::from(Duration::from_millis(ms as u64))),
    }
}

fn number(word: &str) -> Result<usize, Refusal> {
    Ok(word.parse()?)
}
