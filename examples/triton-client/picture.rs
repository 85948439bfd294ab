//! Has a vision model of any Triton server look at a picture, through shared memory.
//!
//! The picture is prepared where the server reads it, and the answer is looked at where the server
//! wrote it. Which input the model wants, and of which size, is what the server says.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use image::imageops::FilterType;
use image::{GrayImage, RgbImage};
use shm_triton::{DataType, ModelConfig, ModelSpec, Options, TritonClient};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Has a model look at a picture
#[derive(Parser)]
#[command(name = "triton-picture")]
struct Args {
    /// A PNG or JPEG file
    picture: PathBuf,
    /// The server: HOST:PORT or http://HOST:PORT for HTTP, grpc://HOST:PORT for gRPC
    #[arg(long, default_value = "localhost:8000")]
    url: String,
    /// The model: takes FP32 planes [3, height, width], and gives FP32 planes
    #[arg(long, default_value = "detector")]
    model: String,
    /// Write the answer's first plane there, 0 as black and 1 as white
    #[arg(long)]
    out: Option<PathBuf>,
    /// Ask so many times
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    frames: u64,
    /// End after so many seconds
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true)]
    seconds: u32,
}

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Above it the detector believes that a pixel belongs to text.
const TEXT: f32 = 0.3;

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;
    let picture = image::open(&args.picture)
        .with_context(|| format!("{} cannot be read", args.picture.display()))?
        .to_rgb8();

    let client = TritonClient::connect(args.url.as_str())?;
    let server = client.server_metadata()?;
    println!("client: {} {} at {}", server.name, server.version, args.url);
    // One slot: memory that the server maps, too. It grows to what a picture needs.
    let config = ModelConfig::new(&args.model).slots(1).batch(1);
    let model = client
        .register_model(config)
        .with_context(|| format!("the server does not give us '{}'", args.model))?;
    let wanted = Wanted::of(model.spec(), &picture)?;

    let mut slot = model.slot(PATIENCE)?;
    let mut took = Histogram::<u64>::new_with_bounds(1, 600_000_000_000, 3)?;
    let ends = Instant::now() + Duration::from_secs(args.seconds.into());
    for _ in 0..args.frames {
        wanted.prepare(&picture, slot.input(&wanted.input, &wanted.shape)?);
        let ask = Options::new().within(PATIENCE).interrupt(|| STOP.load(Ordering::Relaxed));
        let begun = Instant::now();
        let answer = slot.run(&ask)?;
        took.saturating_record(begun.elapsed().as_nanos() as u64);
        if took.len() == 1 {
            let (values, shape) = (answer.get(&wanted.output)?, answer.shape(&wanted.output)?);
            tell(values, shape, &args)?;
        }
        if STOP.load(Ordering::Relaxed) || Instant::now() >= ends {
            break;
        }
    }
    println!(
        "client: {} answers, {:.3} ms each (median)",
        took.len(),
        took.value_at_quantile(0.5) as f64 / 1e6
    );
    drop(slot);
    // The server lets go of the region, and its segment is removed.
    client.close(Duration::from_secs(5)).context("the server still holds our memory")
}

/// What the model wants to be given.
struct Wanted {
    /// Of the request: batch (if the model has one), planes, rows, columns.
    shape: Vec<i64>,
    input: String,
    output: String,
    height: u32,
    width: u32,
}

impl Wanted {
    fn of(spec: &ModelSpec, picture: &RgbImage) -> Result<Wanted> {
        let (Some(input), Some(output)) = (spec.inputs.first(), spec.outputs.first()) else {
            bail!("model '{}' has no input or no output", spec.name)
        };
        ensure!(
            input.datatype == DataType::Fp32 && output.datatype == DataType::Fp32,
            "model '{}' takes {} and gives {}; this program speaks FP32 only",
            spec.name,
            input.datatype,
            output.datatype
        );
        let dims = match input.dims[..] {
            [3, height, width] => [height, width],
            [1 | -1, 3, height, width] if spec.max_batch_size == 0 => [height, width],
            _ => bail!("input '{}' has dims {:?}, not 3 planes", input.name, input.dims),
        };
        // Free sizes: the picture's own, rounded to what networks that halve five times need.
        let size = |dim: i64, own: u32| match u32::try_from(dim) {
            Ok(fixed) => fixed,
            Err(_) => own.div_ceil(32) * 32,
        };
        let (height, width) = (size(dims[0], picture.height()), size(dims[1], picture.width()));
        let mut shape = vec![3, height.into(), width.into()];
        if spec.max_batch_size > 0 || input.dims.len() == 4 {
            shape.insert(0, 1);
        }
        let (input, output) = (input.name.clone(), output.name.clone());
        Ok(Wanted { shape, input, output, height, width })
    }

    /// Writes blue, green and red planes with values from -1 to 1, where the server reads them.
    fn prepare(&self, picture: &RgbImage, planes: &mut [f32]) {
        let fitted =
            image::imageops::resize(picture, self.width, self.height, FilterType::Triangle);
        let pixels = (self.width * self.height) as usize;
        for (plane, channel) in planes.chunks_exact_mut(pixels).zip([2, 1, 0]) {
            let values = fitted.pixels().map(|pixel| f32::from(pixel.0[channel]) / 127.5 - 1.0);
            plane.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        }
    }
}

fn tell(values: &[f32], shape: &[i64], args: &Args) -> Result<()> {
    let above = values.iter().filter(|&&value| value > TEXT).count();
    println!("client: answer {shape:?}, {above} of {} values above {TEXT}", values.len());
    let Some(out) = &args.out else { return Ok(()) };
    let [.., height, width] = *shape else { bail!("an answer of shape {shape:?} is no picture") };
    let grey = values.iter().map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8);
    let grey: Vec<u8> = grey.take((height * width) as usize).collect();
    let plane = GrayImage::from_raw(u32::try_from(width)?, u32::try_from(height)?, grey);
    let plane = plane.context("the answer is shorter than it says")?;
    plane.save(out).with_context(|| format!("{} cannot be written", out.display()))
}
