//! A process is killed: how soon its leases are released, how soon its clients know.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use shm_cuda::share::Arguments;

use super::PATIENCE;
use super::offers::NUMBER;
use super::place::Place;
use super::served::{Served, connect, counter, handle_of};
use super::timing::Figures;
use crate::child::{self, Child, Role};
use crate::limits;
use crate::measure::{Samples, pin};
use crate::report::Row;
use crate::suites::Setting;

/// The client that is killed.
pub(super) const LEASING_CLIENT: Role = Role { name: "leasing-client", run: lease };

const LEASES: u64 = 100;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let far = setting.cores.far;
    let times = setting.plan.pick(3, 30);
    let [mut releases, mut deaths, mut bare] = [(); 3].map(|()| Samples::default());
    let place = Place::make()?;
    let path = place.path("bare");
    let listener = UnixListener::bind(&path).context("could not listen")?;
    let served = Served::start(far, &[])?;
    for _ in 0..times {
        releases.record(leases_released(&served, far)?.as_nanos() as u64);
        deaths.record(server_death(far)?.as_nanos() as u64);
        bare.record(limits::hang_up(far, &listener, &path)?.as_nanos() as u64);
    }
    let bare = Figures::of(&[bare])?;
    let limit = "a bare socket's end, from the kill to the return of a blocked read";
    Ok(vec![
        Figures::of(&[releases])?
            .row("hang-up/100 leases released")
            .with_limit(limit, bare.p50)
.with_limit_quantiles(bare.quantiles)
            .with_note(
                "from before the kill of a client to the answer that shows no lease; another client \
                 asks for the server's info again and again",
            ),
        Figures::of(&[deaths])?
            .row("hang-up/server death seen")
            .with_limit(limit, bare.p50)
.with_limit_quantiles(bare.quantiles)
            .with_note("from before the kill of the server to the call of on_gone"),
    ])
}

#[derive(Debug, Serialize, Deserialize)]
struct LeaseJob {
    path: PathBuf,
}

fn leases_released(served: &Served, cpu: usize) -> Result<Duration> {
    let client = served.client()?;
    let mut child = Child::start(&LEASING_CLIENT, cpu, &LeaseJob { path: served.path() })?;
    let before = counter(&client, "leases_hung_up")?;
    ensure!(counter(&client, "leases")? == LEASES, "the client has not got its leases");
    let begun = Instant::now();
    child.kill()?;
    while counter(&client, "leases")? > 0 {
        ensure!(begun.elapsed() < PATIENCE, "the leases of a dead client are still out");
    }
    let took = begun.elapsed();
    let ended = counter(&client, "leases_hung_up")? - before;
    ensure!(ended == LEASES, "{ended} leases ended with their connection");
    Ok(took)
}

fn lease(job: &str) -> Result<()> {
    let job: LeaseJob = child::job(job)?;
    let client = connect(job.path)?;
    let handles = (0..LEASES)
        .map(|_| handle_of(&client, NUMBER, Arguments::default()))
        .collect::<Result<Vec<_>>>()?;
    child::ready()?;
    // It is killed.
    thread::sleep(PATIENCE);
    drop(handles);
    Ok(())
}

fn server_death(far: usize) -> Result<Duration> {
    let mut served = Served::start(far, &[])?;
    let client = served.client()?;
    let (told, gone) = mpsc::channel();
    client.on_gone(Box::new(move || {
        // Nobody listens any more only if the measurement has failed already.
        let _ = told.send(Instant::now());
    }));
    let begun = Instant::now();
    served.child.kill()?;
    let seen = gone.recv_timeout(PATIENCE).context("the death of the server was not seen")?;
    ensure!(!client.is_alive(), "a client of a dead server says that it lives");
    Ok(seen - begun)
}
