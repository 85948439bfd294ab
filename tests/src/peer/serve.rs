//! The commands of a peer.

use super::actor::{Actor, Following, Reply};
use super::lines::Lines;
use std::cell::Cell;

/// Serves commands from standard input until it ends. One line in, one line out: `ok ...`,
/// `error Kind message`, or `torn what`.
///
/// | command                      | does                                                          |
/// |------------------------------|---------------------------------------------------------------|
/// | `create NAME WORDS`          | creates a stream of 64-bit words and keeps the handle         |
/// | `replace NAME WORDS`         | the same over one that exists                                 |
/// | `open NAME`, `reader NAME`   | opens for writing, for reading                                |
/// | `reader-of-stream`           | a reader on the mapping of the open stream                    |
/// | `close`                      | drops stream, writer and reader                               |
/// | `writer MS`, `unlock`        | takes the writer lock, gives it back                          |
/// | `publish N`, `loan N`        | publishes N frames by copy, in place                          |
/// | `create-external NAME WORDS` | creates a mirrored stream whose frames live elsewhere         |
/// | `announce N`                 | announces N frames and leaves them in flight                  |
/// | `carry-out`                  | carries them out as a device does, waking nobody              |
/// | `called-back N`              | N frames, announced and carried out by the host               |
/// | `wait-for COUNT MS`          | waits for a newer frame without reading it                    |
/// | `loan-half`                  | fills half of the next frame in place, and holds it for ever  |
/// | `locked N MS`                | N frames, taking the lock for each                            |
/// | `read`                       | the newest frame, verified: answers its count                 |
/// | `read-after COUNT MS`        | waits for a newer one                                         |
/// | `chase COUNT MS`             | reads every new frame that it can until COUNT                 |
/// | `loop-publish`, `loop-loan`, `loop-locked` | publishes until the next line                   |
/// | `follow HOW`                 | `read`, `wait`, `history` or `view`, verified, until the next line |
/// | `arm POINT kill\|stop NTH`   | arms a fault point                                            |
/// | `fork`                       | the child goes on serving; the parent when it has ended       |
/// | `unshare WHAT...`, `mount-proc` | new namespaces: `user`, `mount`, `pid`                     |
/// | `gc PREFIX`, `unlink NAME`, `exit` | as they say                                             |
/// | `pool ...`                   | what the peer does with a pool: see `pool/commands.rs`        |
/// | `triton ...`                 | what it does as a client of a Triton server: see `triton/actor.rs` |
pub fn serve() {
    let mut lines = Lines::default();
    let mut actor = Actor::default();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match act(&mut actor, &mut lines, &words) {
            Reply::Ok(text) => say(&format!("ok {text}")),
            Reply::Error { kind, text } => say(&format!("error {kind} {text}")),
            Reply::Torn(what) => say(&format!("torn {what}")),
            Reply::Nothing => {}
        }
    }
}

fn act(actor: &mut Actor, lines: &mut Lines, words: &[&str]) -> Reply {
    match *words {
        ["create", name, words] => actor.create(name, number(words) as usize, false),
        ["replace", name, words] => actor.create(name, number(words) as usize, true),
        ["open", name] => actor.open(name),
        ["reader", name] => actor.open_reader(name),
        ["reader-of-stream"] => actor.reader_of_stream(),
        ["close"] => {
            *actor = Actor::default();
            Reply::ok("")
        }
        ["writer", ms] => actor.lock(number(ms)),
        ["unlock"] => actor.unlock(),
        ["publish", frames] => actor.publish(number(frames)),
        ["loan", frames] => actor.loan(number(frames)),
        ["create-external", name, words] => actor.create_external(name, number(words) as usize),
        ["announce", frames] => actor.announce(number(frames)),
        ["carry-out"] => actor.carry_out(),
        ["called-back", frames] => actor.called_back(number(frames)),
        ["wait-for", count, ms] => actor.wait_for(number(count), number(ms)),
        ["loan-half"] => actor.loan_half(|| say("ok half")),
        ["locked", frames, ms] => actor.locked(number(frames), number(ms)),
        ["read"] => actor.read(),
        ["read-after", count, ms] => actor.read_after(number(count), number(ms)),
        ["chase", count, ms] => actor.chase(number(count), number(ms)),
        ["loop-publish"] => repeat(lines, Actor::publish, actor),
        ["loop-loan"] => repeat(lines, Actor::loan, actor),
        ["loop-locked"] => repeat(lines, |actor, frames| actor.locked(frames, 60_000), actor),
        ["follow", how] => match Following::from_word(how) {
            Some(how) => follow(actor, lines, how),
            None => Reply::Error { kind: "Command".into(), text: format!("unknown: follow {how}") },
        },
        ["arm", point, action, nth] => actor.arm(point, action, number(nth)),
        ["fork"] => actor.fork(say),
        ["unshare", ref what @ ..] => actor.unshare(what),
        ["mount-proc"] => actor.mount_proc(),
        ["gc", prefix] => actor.gc(prefix),
        ["pool", ref words @ ..] => going_on(lines, |told, stop| actor.pool(words, told, stop)),
        ["triton", ref words @ ..] => going_on(lines, |told, stop| actor.triton(words, told, stop)),
        ["unlink", name] => Reply::from_result(shm_core::unlink(name).map(|()| String::new())),
        ["exit"] => {
            *actor = Actor::default();
            std::process::exit(0)
        }
        _ => Reply::Error { kind: "Command".into(), text: format!("unknown: {words:?}") },
    }
}

/// Publishes frame by frame until a line arrives; looking for one must not slow it down.
fn repeat(
    lines: &mut Lines,
    mut publish: impl FnMut(&mut Actor, u64) -> Reply,
    actor: &mut Actor,
) -> Reply {
    say("ok started");
    let mut total = 0_u64;
    loop {
        if total.is_multiple_of(8) && lines.is_waiting() {
            break;
        }
        match publish(actor, 1) {
            Reply::Ok(_) => total += 1,
            failed => {
                lines.next();
                return failed;
            }
        }
    }
    lines.next();
    Reply::ok(total)
}

/// Something that may go on until a line arrives, which it says when it begins.
fn going_on(lines: &mut Lines, act: impl FnOnce(&dyn Fn(), &dyn Fn() -> bool) -> Reply) -> Reply {
    let begun = Cell::new(false);
    let told = || {
        begun.set(true);
        say("ok started");
    };
    let reply = act(&told, &|| lines.is_waiting());
    if begun.get() {
        lines.next();
    }
    reply
}

fn follow(actor: &mut Actor, lines: &mut Lines, how: Following) -> Reply {
    say("ok started");
    let reply = actor.follow(how, || lines.is_waiting());
    lines.next();
    reply
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("'{word}' should be a number"))
}

fn say(line: &str) {
    let line = format!("{line}\n");
    let mut left = line.as_bytes();
    while !left.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), left) {
            Ok(written) => left = &left[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => std::process::exit(1),
        }
    }
}
