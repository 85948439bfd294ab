//! Several calls in flight: how many a second, of the smallest model.

use std::cell::Cell;
use std::time::Duration;

use anyhow::Result;
use shm_triton::SharedMemory;

use super::calls::repeat_at_once;
use super::load::Load;
use super::measure::Setting;
use super::model::SMALLEST;
use super::one_call::load_round;
use super::ours::Ours;
use super::path::{
    AT_ONCE, IN_PLACE_GRPC, IN_PLACE_HTTP, IN_PLACE_UNIX, LOAD_GRPC, LOAD_HTTP, POOL, WIRE_GRPC,
    WIRE_HTTP, WIRE_UNIX,
};
use super::peer::Way;
use super::row::{Compared, Outcomes, Row, row};
use super::servers::{Addresses, Backend};
use super::turns::{Entrant, Round, round};
use super::wire::{Length, Relay, Socket, Wire};

/// How many calls are in flight.
pub(super) const LEVELS: [usize; 4] = [1, 2, 4, 8];

/// The rows of a server.
pub(super) fn rows(setting: &Setting<'_>, backend: &Backend<'_>) -> Result<Vec<Row>> {
    let levels = setting.plan.pick(&LEVELS[2..3], &LEVELS[..]);
    let mut rows = Vec::new();
    for &calls in levels {
        let outcomes = match &backend.server {
            Ok(server) => measure(setting, &backend.model(SMALLEST.name), server, calls)?,
            Err(why) => {
                AT_ONCE.iter().map(|path| (path.name.to_owned(), Err(why.clone()))).collect()
            }
        };
        let row = |path| row(backend.name, &SMALLEST, path, Compared::Rate(calls), &outcomes);
        rows.extend(AT_ONCE.iter().map(row));
    }
    Ok(rows)
}

fn measure(
    setting: &Setting<'_>,
    name: &str,
    server: &Addresses<'_>,
    calls: usize,
) -> Result<Outcomes> {
    let grpc_url = format!("grpc://{}", server.grpc);
    let unix_url = format!("http+unix://{}", server.unix.display());
    let register = |url: &str| Ours::register(url, name, SMALLEST, calls, SharedMemory::Required);
    let (http, grpc, unix) = (register(server.http)?, register(&grpc_url)?, register(&unix_url)?);
    let lengths = [length(name, server.http, "http://")?, length(name, server.grpc, "grpc://")?];
    let peer = match setting.peer {
        Some(peer) => {
            peer.borrow_mut().open(server.grpc, name, &SMALLEST, calls)?;
            Ok(peer)
        }
        None => Err(setting.no_peer.clone()),
    };

    let in_place = |ours: &Ours| -> Result<Round<'_>> {
        let slots = (0..calls).map(|_| ours.in_place()).collect::<Result<Vec<_>>>()?;
        let mut each: Vec<_> = slots.into_iter().map(|mut slot| move || slot.call()).collect();
        Ok(Box::new(move |slice| repeat_at_once(slice, &mut each)))
    };
    let wire = |socket, length| -> Result<Round<'_>> {
        let wires =
            (0..calls).map(|_| Wire::open(socket, length, None)).collect::<Result<Vec<_>>>()?;
        let mut each: Vec<_> = wires.into_iter().map(|mut wire| move || wire.call()).collect();
        Ok(Box::new(move |slice| repeat_at_once(slice, &mut each)))
    };
    let python = peer.clone().map(|peer| -> Round<'_> {
        Box::new(move |slice| peer.borrow_mut().run(Way::Pool, slice, calls))
    });
    let mut entrants = vec![
        Entrant::ours(IN_PLACE_HTTP.name, in_place(&http)?),
        Entrant::ours(WIRE_HTTP, wire(Socket::Tcp, lengths[0])?),
        Entrant::ours(IN_PLACE_UNIX.name, in_place(&unix)?),
        Entrant::ours(WIRE_UNIX, wire(Socket::Unix, lengths[0])?),
        Entrant::other(POOL, python),
        Entrant::ours(IN_PLACE_GRPC.name, in_place(&grpc)?),
        Entrant::ours(WIRE_GRPC, wire(Socket::Tcp, lengths[1])?),
    ];
    let one = Cell::new(Duration::ZERO);
    let mut loads = [("http", LOAD_HTTP, server.http), ("grpc", LOAD_GRPC, server.grpc)].map(
        |(protocol, path, address)| {
            let load = setting.load.clone().map(|program| Load {
                program,
                model: name.to_owned(),
                batch: SMALLEST.batch,
                protocol,
                address: address.to_owned(),
                in_flight: calls,
            });
            Entrant::other(path, load.map(|load| load_round(load, &one)))
        },
    );
    let warming = setting.warming();
    for number in 0..warming + setting.rounds() {
        let counts = number >= warming;
        round(&mut entrants, number, setting.slice(counts), counts)?;
        if counts && setting.loads_after(number - warming, &SMALLEST) {
            // As many threads as there are calls: each takes its share of the time.
            let each = entrants[0].typical().unwrap_or_default() / calls as u32;
            one.set(each);
            round(&mut loads, number, setting.load_slice(), true)?;
            setting.open_again(server, name, &SMALLEST, calls)?;
        }
    }
    let mut outcomes = Outcomes::new();
    for entrant in entrants.into_iter().chain(loads) {
        outcomes.insert(entrant.name.clone(), entrant.end()?);
    }
    if let Ok(peer) = peer {
        super::measure::close(peer);
    }
    Ok(outcomes)
}

fn length(name: &str, address: &str, scheme: &str) -> Result<Length> {
    let relay = Relay::before(address)?;
    let url = format!("{scheme}{}", relay.address());
    let ours = Ours::register(&url, name, SMALLEST, 1, SharedMemory::Required)?;
    let mut slot = ours.in_place()?;
    relay.length(|| slot.call())
}
