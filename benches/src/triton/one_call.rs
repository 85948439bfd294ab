//! One call at a time: every path of a model of a server, in turns.

use std::cell::{Cell, RefCell};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use shm_triton::SharedMemory;

use super::calls::repeat;
use super::load::{Load, calls_in};
use super::measure::Setting;
use super::memory::Memory;
use super::model::Model;
use super::ours::Ours;
use super::path::{
    ALL, COPIED_GRPC, COPIED_HTTP, IN_MESSAGE_GRPC, IN_MESSAGE_HTTP, IN_PLACE_GRPC, IN_PLACE_HTTP,
    IN_PLACE_UNIX, LOAD_GRPC, LOAD_HTTP, MEMORY_CLIENT, MEMORY_MODEL, MESSAGE_GRPC, MESSAGE_HTTP,
    PLAIN, POOL, REGIONS, WIRE_GRPC, WIRE_HTTP, WIRE_UNIX,
};
use super::peer::{Peer, Way};
use super::row::{Compared, Outcomes, Row, row};
use super::servers::{Addresses, Backend};
use super::turns::{Entrant, Round, round};
use super::wire::{Length, Relay, Socket, Wire};
use crate::limits::CopyKind;
use crate::measure::pin;

/// The rows of a model.
pub(super) fn rows(
    setting: &Setting<'_>,
    backend: &Backend<'_>,
    model: &Model,
) -> Result<Vec<Row>> {
    let outcomes = match &backend.server {
        Ok(server) => measure(setting, &backend.model(model.name), server, model)?,
        Err(why) => ALL.iter().map(|path| (path.name.to_owned(), Err(why.clone()))).collect(),
    };
    let row = |path| row(backend.name, model, path, Compared::Time, &outcomes);
    Ok(ALL.iter().map(row).collect())
}

fn measure(
    setting: &Setting<'_>,
    name: &str,
    server: &Addresses<'_>,
    model: &Model,
) -> Result<Outcomes> {
    let grpc_url = format!("grpc://{}", server.grpc);
    let unix_url = format!("http+unix://{}", server.unix.display());
    let register = |url: &str, slots, memory| Ours::register(url, name, *model, slots, memory);
    // One slot for what is read in place, one for copies.
    let http = register(server.http, 2, SharedMemory::Required)?;
    let grpc = register(&grpc_url, 2, SharedMemory::Required)?;
    let unix = register(&unix_url, 1, SharedMemory::Required)?;
    let plain_http = register(server.http, 1, SharedMemory::Never)?;
    let plain_grpc = register(&grpc_url, 1, SharedMemory::Never)?;
    let lengths = Lengths::of(name, server, model)?;
    let memory = RefCell::new(Memory::of(model));
    let peer = match setting.peer {
        Some(peer) => {
            peer.borrow_mut().open(server.grpc, name, model, 1)?;
            Ok(peer)
        }
        None => Err(setting.no_peer.clone()),
    };

    let in_place = |ours: &Ours| -> Result<Round<'_>> {
        let mut slot = ours.in_place()?;
        Ok(Box::new(move |slice| repeat(slice, &mut || slot.call())))
    };
    let copied = |ours: &Ours| -> Round<'_> {
        let mut calls = ours.copied();
        Box::new(move |slice| repeat(slice, &mut || calls.call()))
    };
    let near = setting.cores.near;
    let wire = |socket, length, echo| -> Result<Round<'_>> {
        let mut wire = Wire::open(socket, length, Some(echo))?;
        Ok(Box::new(move |slice| placed_at(near, || repeat(slice / 2, &mut || wire.call()))))
    };
    let memory_round = |copy: fn(&mut Memory, CopyKind), kind| -> Round<'_> {
        let memory = &memory;
        Box::new(move |slice| {
            let mut memory = memory.borrow_mut();
            repeat(slice / 2, &mut || {
                copy(&mut memory, kind);
                Ok(())
            })
        })
    };
    let mut entrants = vec![
        Entrant::ours(IN_PLACE_HTTP.name, in_place(&http)?),
        Entrant::ours(IN_PLACE_UNIX.name, in_place(&unix)?),
        Entrant::other(POOL, python(peer.clone(), Way::Pool)),
        Entrant::ours(IN_PLACE_GRPC.name, in_place(&grpc)?),
        Entrant::ours(COPIED_HTTP.name, copied(&http)),
        Entrant::other(REGIONS, python(peer.clone(), Way::Regions)),
        Entrant::ours(COPIED_GRPC.name, copied(&grpc)),
        Entrant::ours(IN_MESSAGE_HTTP.name, copied(&plain_http)),
        Entrant::other(PLAIN, python(peer.clone(), Way::Plain)),
        Entrant::ours(IN_MESSAGE_GRPC.name, copied(&plain_grpc)),
    ];
    let kinds = CopyKind::available();
    for &kind in &kinds {
        let [model, client] =
            [MEMORY_MODEL, MEMORY_CLIENT].map(|name| format!("{name}/{}", kind.name()));
        entrants.push(Entrant::ours(model, memory_round(Memory::model, kind)));
        entrants.push(Entrant::ours(client, memory_round(Memory::client, kind)));
    }
    let one = Cell::new(Duration::ZERO);
    // Where both sides share a processor nobody has to be woken up on another one, where they do not
    // nobody has to wait for it: the limit is the faster of the two.
    for (name, socket, length) in [
        (WIRE_HTTP, Socket::Tcp, lengths.http),
        (WIRE_UNIX, Socket::Unix, lengths.http),
        (WIRE_GRPC, Socket::Tcp, lengths.grpc),
        (MESSAGE_HTTP, Socket::Tcp, lengths.message_http),
        (MESSAGE_GRPC, Socket::Tcp, lengths.message_grpc),
    ] {
        let [together, apart] = placements(name);
        entrants.push(Entrant::ours(together, wire(socket, length, near)?));
        entrants.push(Entrant::ours(apart, wire(socket, length, setting.cores.far)?));
    }
    let mut loads = [("http", LOAD_HTTP, server.http), ("grpc", LOAD_GRPC, server.grpc)].map(
        |(protocol, path, address)| {
            let load = setting.load.clone().map(|program| Load {
                program,
                model: name.to_owned(),
                batch: model.batch,
                protocol,
                address: address.to_owned(),
                in_flight: 1,
            });
            Entrant::other(path, load.map(|load| load_round(load, &one)))
        },
    );

    let warming = setting.warming();
    for number in 0..warming + setting.rounds() {
        let counts = number >= warming;
        round(&mut entrants, number, setting.slice(counts), counts)?;
        if counts && setting.loads_after(number - warming, model) {
            one.set(entrants[0].typical().unwrap_or_default());
            round(&mut loads, number, setting.load_slice(), true)?;
            setting.open_again(server, name, model, 1)?;
        }
    }
    let mut outcomes = Outcomes::new();
    for entrant in entrants.into_iter().chain(loads) {
        outcomes.insert(entrant.name.clone(), entrant.end()?);
    }
    for name in LIMITS {
        keep_fastest(&mut outcomes, name);
    }
    if let Ok(peer) = peer {
        super::measure::close(peer);
    }
    Ok(outcomes)
}

const LIMITS: [&str; 7] =
    [WIRE_HTTP, WIRE_UNIX, WIRE_GRPC, MESSAGE_HTTP, MESSAGE_GRPC, MEMORY_MODEL, MEMORY_CLIENT];

/// Of all ways to do what a limit stands for, the fastest is the limit.
fn keep_fastest(outcomes: &mut Outcomes, limit: &str) {
    let ways = format!("{limit}/");
    let (found, others): (Outcomes, Outcomes) =
        std::mem::take(outcomes).into_iter().partition(|(name, _)| name.starts_with(&ways));
    *outcomes = others;
    let found = found.into_values().filter_map(Result::ok);
    let fastest = found.min_by(|a, b| a.p50.total_cmp(&b.p50));
    if let Some(fastest) = fastest {
        outcomes.insert(limit.to_owned(), Ok(fastest));
    }
}

/// The names of a limit with both sides on one processor and on two.
fn placements(name: &str) -> [String; 2] {
    ["together", "apart"].map(|place| format!("{name}/{place}"))
}

/// In a thread of its own, on that processor: the others go where the system puts them.
fn placed_at<T: Send>(cpu: usize, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| pin(cpu).and_then(|()| run()));
        thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
    })
}

/// Rounds of a Python client.
pub(super) fn python(peer: Result<&RefCell<Peer>, String>, way: Way) -> Result<Round<'_>, String> {
    let peer = peer?;
    Ok(Box::new(move |slice| peer.borrow_mut().run(way, slice, 1)))
}

/// Rounds of perf_analyzer, where a call takes about as long as `one` says.
pub(super) fn load_round(load: Load, one: &Cell<Duration>) -> Round<'_> {
    Box::new(move |slice| load.run(calls_in(slice, one.get(), load.in_flight)))
}

/// What a call takes on the wire, by protocol and by where the tensors are.
struct Lengths {
    http: Length,
    grpc: Length,
    message_http: Length,
    message_grpc: Length,
}

impl Lengths {
    fn of(name: &str, server: &Addresses<'_>, model: &Model) -> Result<Lengths> {
        let length = |address: &str, scheme: &str, memory| -> Result<Length> {
            let relay = Relay::before(address)?;
            let url = format!("{scheme}{}", relay.address());
            let ours = Ours::register(&url, name, *model, 1, memory)?;
            if memory == SharedMemory::Never {
                let mut calls = ours.copied();
                return relay.length(|| calls.call());
            }
            let mut slot = ours.in_place()?;
            relay.length(|| slot.call())
        };
        Ok(Lengths {
            http: length(server.http, "http://", SharedMemory::Required)?,
            grpc: length(server.grpc, "grpc://", SharedMemory::Required)?,
            message_http: length(server.http, "http://", SharedMemory::Never)?,
            message_grpc: length(server.grpc, "grpc://", SharedMemory::Never)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triton::calls::Summary;

    #[test]
    fn the_fastest_way_is_the_limit() {
        let way = |name: &str, p50| {
            (name.to_owned(), Ok(Summary { p50, rate: 1.0, ..Summary::default() }))
        };
        let [together, apart] = placements(WIRE_HTTP);
        let mut outcomes: Outcomes =
            [way(&together, 9.0), way(&apart, 7.0), way(WIRE_UNIX, 5.0)].into();
        keep_fastest(&mut outcomes, WIRE_HTTP);
        assert_eq!(outcomes.len(), 2);
        assert_eq!(outcomes[WIRE_HTTP].as_ref().unwrap().p50, 7.0);
    }
}
