//! Looks for text in prepared pictures without any server: what the served model is compared with.
//!
//! Pictures come on standard input, 3 planes of 32-bit floats each. Of each, a line says how many
//! pixels of it are text, and the checksum of the answer.

use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use shm_zoo::{Size, TextDetector};
use xxhash_rust::xxh3::xxh3_64;

/// Looks for text in prepared pictures, which come on standard input.
#[derive(Debug, Parser)]
#[command(name = "shm-zoo-detect")]
struct Flags {
    /// The ONNX file
    #[arg(long, value_name = "FILE")]
    detector: PathBuf,
    /// The height of every picture
    #[arg(long)]
    height: u32,
    /// The width of every picture
    #[arg(long)]
    width: u32,
}

/// A pixel whose value is above it belongs to text.
const TEXT: f32 = 0.3;

fn main() -> ExitCode {
    match detect(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn detect(flags: &Flags) -> Result<()> {
    let size = Size::new(flags.height.into(), flags.width.into())?;
    let detector = TextDetector::load(&flags.detector)?;
    let mut pictures = std::io::stdin().lock();
    let mut picture = vec![0.0_f32; 3 * size.pixels()];
    while next(&mut pictures, bytemuck::cast_slice_mut(&mut picture))? {
        let answer = detector.find_in(size, &picture)?;
        let values = answer.values();
        let text = values.iter().filter(|&&value| value > TEXT).count();
        let checksum = xxh3_64(bytemuck::cast_slice(values));
        writeln!(std::io::stdout(), "{{\"text_pixels\":{text},\"checksum\":{checksum}}}")
            .context("nobody reads standard output")?;
    }
    Ok(())
}

/// Fills one picture; false if there is none left.
fn next(pictures: &mut impl Read, picture: &mut [u8]) -> Result<bool> {
    let first = loop {
        match pictures.read(picture) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => break read.context("the pictures cannot be read")?,
        }
    };
    if first == 0 {
        return Ok(false);
    }
    pictures.read_exact(&mut picture[first..]).context("the last picture is cut off")?;
    Ok(true)
}
