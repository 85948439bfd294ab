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

/// True if both acts proved everything.
fn play(args: &DemoInnerArgs, pixels: &[u8], interrupted: &Arc<AtomicBool>) -> Result<bool> {
    let stream = StreamName::new("frames");
    println!(
        "{} pictures, {WIDTH}x{HEIGHT} RGB, {:.1} MB each; stream `{}`; Ctrl-C ends it",
        pixels.len() / BYTES,
        BYTES as f64 / 1e6,
        stream.as_str()
    );
    let first = conductor::play(args, &stream, pixels, interrupted.clone())?;
    let first = told(&first);
    drop(stream);
    let (Some(zoo), Some(detector)) = (&args.zoo, &args.detector) else {
        return Ok(first);
    };

    println!("\na model on an inference server looks at the pictures");
    let stream = StreamName::new("pictures");
    let second = chain::play(chain::Props {
        stream: stream.as_str(),
        pixels,
        names: photos::names(&args.photos)?,
        zoo,
        detector,
        triton: args.triton.as_deref(),
        seconds: args.seconds.div_ceil(2),
        plain: args.plain,
        interrupted: interrupted.clone(),
    })?;
    Ok(told(&second) && first)
}

/// Says what was proven; true if that is everything.
fn told(claims: &[Claim]) -> bool {
    println!("\nwhat was shown");
    for claim in claims {
        let mark = if claim.holds { "yes" } else { "NO " };
        println!("  {mark}  {}", claim.text);
    }
    claims.iter().all(|claim| claim.holds)
}
