//! How soon a server is there, and how soon an idle one is gone.

use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shm_cuda::share::{Server, ServerConfig, Stop};

use super::PATIENCE;
use super::offers;
use super::place::Place;
use super::served::{connect, soon};
use super::timing::Figures;
use crate::measure::Samples;
use crate::report::Row;
use crate::suites::Setting;

const STOP_BUDGET: Duration = Duration::from_millis(200);

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    let place = Place::make()?;
    let times = setting.plan.pick(10, 200);
    let [mut starts, mut stops, mut bare] = [(); 3].map(|()| Samples::default());
    for _ in 0..times {
        let (start, stop) = ours(&place)?;
        starts.record(start.as_nanos() as u64);
        stops.record(stop.as_nanos() as u64);
        bare.record(listen(&place)?.as_nanos() as u64);
    }
    let bare = Figures::of(&[bare])?;
    let config = ServerConfig::new(place.path("service"));
    Ok(vec![
        Figures::of(&[starts])?
            .row("start")
            .with_limit("a bare listener and one thread, until somebody is answered", bare.p50)
            .with_limit_quantiles(bare.quantiles)
            .with_note(format!(
                "Server::start in this process + connect + ping; {} workers",
                config.workers
            )),
        Figures::of(&[stops])?
            .row("stop/idle")
            .with_limit("budget of 200 ms", STOP_BUDGET.as_secs_f64() * 1e6)
            .with_note(
                "Server::stop with Stop::Drain and one client connected; all threads are joined",
            ),
    ])
}

fn ours(place: &Place) -> Result<(Duration, Duration)> {
    let path = place.path("service");
    let begun = Instant::now();
    let server = Server::start(ServerConfig::new(&path), offers::all())?;
    let client = connect(path.clone())?;
    client.ping(soon())?;
    let start = begun.elapsed();
    let begun = Instant::now();
    ensure!(server.stop(Stop::Drain, PATIENCE), "an idle server did not stop");
    let stop = begun.elapsed();
    ensure!(!path.exists(), "a stopped server left its socket");
    Ok((start, stop))
}

fn listen(place: &Place) -> Result<Duration> {
    use std::io::{Read, Write};
    let path = place.path("bare");
    let begun = Instant::now();
    let listener = UnixListener::bind(&path).context("could not listen")?;
    let answering = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)
    });
    let mut stream = UnixStream::connect(&path).context("could not connect")?;
    stream.write_all(&[1])?;
    stream.read_exact(&mut [0])?;
    let took = begun.elapsed();
    answering.join().ok().context("the answering thread panicked")??;
    std::fs::remove_file(&path).context("could not remove a socket")?;
    Ok(took)
}
