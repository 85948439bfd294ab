//! The whole piece: both acts, one after the other, and what they proved.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::frame::{BYTES, HEIGHT, WIDTH};
use super::stream_name::{self, StreamName};
use super::verdict::Claim;
use super::{chain, conductor, photos};
use crate::flags::DemoInnerArgs;
use crate::progress;

const INTERRUPTED: u8 = 130;

/// Plays the demo to its end.
pub fn task(args: &DemoInnerArgs) -> Result<ExitCode> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .context("Ctrl-C cannot be caught")?;
    // What a demo left that was itself killed: nobody is attached to it any more.
    shm_core::gc(stream_name::PREFIX, false).context("shared memory cannot be listed")?;

    let pixels = photos::decode(&args.photos, WIDTH, HEIGHT)?;
    let played = play(args, &pixels, &interrupted);
    if interrupted.load(Ordering::Relaxed) {
        println!("interrupted; everything is removed");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    // An error explains itself better than the claims that would fall because of it.
    Ok(if played? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// True if everything was proven.
fn play(args: &DemoInnerArgs, pixels: &[u8], interrupted: &Arc<AtomicBool>) -> Result<bool> {
    let mut proof = Proof::default();
    let stream = StreamName::new("frames");
    println!(
        "{} pictures, {WIDTH}x{HEIGHT} RGB, {:.1} MB each; stream `{}`; Ctrl-C ends it",
        pixels.len() / BYTES,
        BYTES as f64 / 1e6,
        stream.as_str()
    );
    proof.take(conductor::play(args, &stream, pixels, interrupted.clone())?);
    drop(stream);
    if let (Some(zoo), Some(detector)) = (&args.zoo, &args.detector) {
        println!("\na model on an inference server looks at the pictures");
        let stream = StreamName::new("pictures");
        proof.take(chain::play(chain::Props {
            stream: stream.as_str(),
            pixels,
            names: photos::names(&args.photos)?,
            zoo,
            detector,
            triton: args.triton.as_deref(),
            seconds: args.seconds.div_ceil(2),
            plain: args.plain,
            interrupted: interrupted.clone(),
        })?);
    }
    println!("\nafterwards");
    proof.take(vec![nothing_left()?]);
    Ok(proof.told())
}

/// The processes of the demo are gone by now, one of them killed.
fn nothing_left() -> Result<Claim> {
    let own = stream_name::of_this_demo();
    let left = shm_core::list(&own).context("shared memory cannot be listed")?;
    let names: Vec<&str> = left.iter().map(|segment| segment.name.as_str()).collect();
    Ok(Claim {
        holds: names.is_empty(),
        text: match names.as_slice() {
            [] => "nothing of the demo is left in shared memory".to_owned(),
            names => format!("shared memory is empty again (there is {})", names.join(", ")),
        },
    })
}

/// What was proven so far.
#[derive(Default)]
struct Proof {
    proven: usize,
    claims: usize,
}

impl Proof {
    /// Says which of the claims hold.
    fn take(&mut self, claims: Vec<Claim>) {
        println!("\nwhat was shown");
        for claim in &claims {
            println!("  {}  {}", mark(claim.holds), claim.text);
        }
        self.claims += claims.len();
        self.proven += claims.iter().filter(|claim| claim.holds).count();
    }

    /// The last line, and whether it is a good one.
    fn told(&self) -> bool {
        let all = self.claims > 0 && self.proven == self.claims;
        println!("\n{}  proven: {} of {}", mark(all), self.proven, self.claims);
        all
    }
}

/// Green or red where a person watches.
fn mark(holds: bool) -> String {
    let (word, color) = if holds { ("yes", 32) } else { ("NO ", 31) };
    if progress::interactive() { format!("\x1b[1;{color}m{word}\x1b[0m") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use shm_core::{Dtype, Stream, StreamConfig};

    use super::*;

    fn claim(holds: bool) -> Claim {
        Claim { holds, text: "something".into() }
    }

    #[test]
    fn one_claim_that_falls_spoils_the_proof() {
        let mut proof = Proof::default();
        assert!(!proof.told(), "nothing was claimed");
        proof.take(vec![claim(true), claim(true)]);
        assert!(proof.told());
        proof.take(vec![claim(false)]);
        assert!(!proof.told());
        proof.take(vec![claim(true)]);
        assert_eq!((proof.proven, proof.claims, proof.told()), (3, 4, false));
    }

    #[test]
    fn what_is_left_of_this_demo_is_named() {
        let name = StreamName::new("left");
        let config = StreamConfig::new(Dtype::U8, &[4]).unwrap().temporary(true);
        let stream = Stream::create(name.as_str(), &config).unwrap();
        let claim = nothing_left().unwrap();
        assert!(!claim.holds && claim.text.contains(name.as_str()), "{}", claim.text);
        drop((stream, name));
        assert!(nothing_left().unwrap().holds);
    }
}
