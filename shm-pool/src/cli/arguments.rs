//! The command line, declared.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Looks at the shared memory of this user's streams, pools and stores: what there is, who holds it, how
/// fast it goes; shows and keeps frames; cleans up what the dead left.
#[derive(Debug, Parser)]
#[command(name = "shm", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Results as JSON: one document, or one object per line where results go on
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 done and something is not as it should be, 2 wrong command \
line, 3 no such segment or file, 4 refused (damaged, of another kind, user or version), 5 the time passed, \
6 the system refused.";

const GC_REMOVES: &str = "Removes segments that no process is attached to, also those that were made to \
outlive their processes, and, whatever the prefix, drafts whose creator died before they were complete. Who \
is attached is what the kernel says, never an age or a process id. Damaged and foreign files are reported and \
left alone.\n\n\
Example: shm gc test- --dry-run    says what would be removed of the names that begin with test-";

const FSCK_EXAMPLE: &str = "Problems are damage, or what the dead left and others trip over; notes are traces \
that the next writer clears away. Streams are looked at read-only. In pools and stores, a problem is one that \
is there at look after look.\n\n\
Example: shm fsck --repair    gives back what killed processes had, in all pools and stores, then checks \
everything";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List segments: streams, pools and stores, with what they carry and who is attached
    Ls(LsArgs),
    /// Everything that is known of one segment, without attaching to it
    Stat(StatArgs),
    /// One line per interval: rate, latency, misses, holders
    Watch(WatchArgs),
    /// All segments on a full screen, live
    Top(TopArgs),
    /// Show a frame as a picture: in the terminal, as a PNG file, or as a live page
    View(ViewArgs),
    /// Keep the frames of a stream in a file, with their times
    Record(RecordArgs),
    /// Publish the frames of a file, in their own time
    Replay(ReplayArgs),
    /// Remove what the dead left behind; never what anybody is attached to
    Gc(GcArgs),
    /// Check segments, every slot and frame, and say what is wrong
    Fsck(FsckArgs),
    /// Measure this machine: copies, streams and pools between two processes
    Bench(BenchArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

/// Arguments of `shm ls`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: shm ls camera/    lists the segments whose names begin with camera/, damaged files too"
)]
pub struct LsArgs {
    /// Only names that begin so
    #[arg(default_value = "")]
    pub prefix: String,
}

/// Arguments of `shm stat`.
#[derive(Debug, Args)]
#[command(after_help = "Example: shm stat camera/front")]
pub struct StatArgs {
    /// The segment
    pub name: String,
}

const WATCH_EXAMPLES: &str = "Examples:
  shm watch camera                              a line a second, until Ctrl-C, then a summary
  shm watch camera --interval 200ms --count 50  exit code 1 if it is gone at the end
  shm watch camera --json | jq .latency.p99_us

Latency is from the moment a frame was published to when this program saw it; of frames on a device, from
their announcement. `missed` are frames that were overwritten before it looked, `r/w` the handles of others
that read and that write.

JSON, one object per line; the key `line` is one of
  stream    time_ns name state seconds frames frames_per_s mb_per_s count seen missed latency (p50_us
            p99_us max_us, or null) age_ms readers writers writer_pid writer_locked in_flight trouble
  pool      time_ns name kind state seconds lends lends_per_s in_use slots in_use_bytes capacity_bytes
            waits waits_per_s refused refused_per_s stale reclaimed overdue consumers holders queued
            queues (name len maxsize) store (entries hits misses evicted, or null)
  gone, replaced   time_ns name what frames seen missed
  summary   time_ns name seconds frames seen missed latency lends gone
Counts are those of the interval; state is live, silent, writer-died, no-writer, empty, full, idle or
owner-gone.";

/// Arguments of `shm watch`.
#[derive(Debug, Args)]
#[command(after_help = WATCH_EXAMPLES)]
pub struct WatchArgs {
    /// The segment
    pub name: String,
    /// Time between two lines, such as 500ms or 2s
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub interval: Duration,
    /// End after so many lines
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

const TOP_EXAMPLES: &str = "Examples:
  shm top                                       full screen; ? explains keys and colours
  shm top camera                                only names that begin so
  shm top --count 1                             one table, after an interval
  shm top --json --interval 5s >> load.jsonl

JSON, one object per look: time_ns memory_bytes free_bytes total_bytes segments, and of each segment name
kind state carries rate_per_s mb_per_s last_use_s in_use slots holders memory_bytes.";

/// Arguments of `shm top`.
#[derive(Debug, Args)]
#[command(after_help = TOP_EXAMPLES)]
pub struct TopArgs {
    /// Only names that begin so
    #[arg(default_value = "")]
    pub prefix: String,
    /// Time between two looks, such as 500ms or 2s
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub interval: Duration,
    /// Print so many tables in place of the full screen, then end
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

const VIEW_EXAMPLES: &str = "Examples:
  shm view camera                            the newest frame, in the terminal
  shm view camera --follow                   every frame, until Ctrl-C
  shm view depth --range 0,10 --png now.png  0 is black, 10 is white
  shm view camera --http 127.0.0.1:8080      a live page; from elsewhere through `ssh -L`

Bytes without sign are shown as they are; truth values are black and white; other numbers are scaled by what
the frame holds, or by --range. Pixels that are not a number, or infinite, are magenta.";

/// Arguments of `shm view`.
#[derive(Debug, Args)]
#[command(after_help = VIEW_EXAMPLES)]
pub struct ViewArgs {
    /// A stream of 2-D frames, or of frames with 1, 3 or 4 channels (HWC or CHW)
    pub name: String,
    /// Write the newest frame into this PNG file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["http", "follow"])]
    pub png: Option<PathBuf>,
    /// Serve a live page at this address of this machine, such as 127.0.0.1:8080, to any of its users; port 0
    /// is any free one
    #[arg(long, value_name = "ADDRESS", conflicts_with = "follow")]
    pub http: Option<SocketAddr>,
    /// Go on drawing in the terminal until ended
    #[arg(long)]
    pub follow: bool,
    /// Values that become black and white; what the frame holds if not given (uint8: 0,255; bool: 0,1)
    #[arg(long, value_name = "LOW,HIGH", value_parser = range, allow_hyphen_values = true)]
    pub range: Option<(f64, f64)>,
    /// Wait so long for a first frame
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
    /// End after so long
    #[arg(long, value_parser = duration)]
    pub seconds: Option<Duration>,
}

const RECORD_EXAMPLES: &str = "Examples:
  shm record camera run.npz                     every frame from now on, until Ctrl-C
  shm record camera run.npy --seconds 30        numpy.load('run.npy', mmap_mode='r')
  shm record camera run.safetensors --frames 100 --force

The file is finished however this ends. It takes its name at the end; until then it is beside it as
FILE.PID.part.";

/// Arguments of `shm record`.
#[derive(Debug, Args)]
#[command(after_help = RECORD_EXAMPLES)]
pub struct RecordArgs {
    /// The stream
    pub name: String,
    /// Where to: `.npz` (frames, counts, ids, times), `.npy` (frames; times beside it in `.times.npy`) or
    /// `.safetensors`
    pub file: PathBuf,
    /// End after so many frames
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// End after so long
    #[arg(long, value_parser = duration)]
    pub seconds: Option<Duration>,
    /// End when no frame came for so long
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,
}

const REPLAY_EXAMPLES: &str = "Examples:
  shm replay run.npz camera                     as it was recorded
  shm replay run.npz camera --loop --rate 60    again and again, 60 frames a second
  shm replay images.npy camera --readers 1      begin when somebody is there to see it";

/// Arguments of `shm replay`.
#[derive(Debug, Args)]
#[command(after_help = REPLAY_EXAMPLES)]
pub struct ReplayArgs {
    /// A file of `shm record`, or any `.npy`, `.npz` or `.safetensors` whose first dimension is time
    pub file: PathBuf,
    /// The stream to publish; it is created, and taken away at the end
    pub name: String,
    /// Frames a second; as recorded if not given, 30 if no times were recorded
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// Begin again at the end, until ended
    #[arg(long = "loop")]
    pub again: bool,
    /// Which array of the file; if not given, `frames` or the only one
    #[arg(long, value_name = "NAME")]
    pub array: Option<String>,
    /// Publish into the stream that is there, which must have the same dtype and shape, and leave it there
    #[arg(long)]
    pub existing: bool,
    /// Begin when so many readers are attached
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub readers: Option<u64>,
}

/// Arguments of `shm gc`.
#[derive(Debug, Args)]
#[command(after_help = GC_REMOVES)]
pub struct GcArgs {
    /// Only names that begin so
    #[arg(default_value = "")]
    pub prefix: String,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `shm fsck`.
#[derive(Debug, Args)]
#[command(after_help = FSCK_EXAMPLE)]
pub struct FsckArgs {
    /// The segments; all of this user's if none is given
    pub names: Vec<String>,
    /// Finish what the dead left half done in pools and stores
    #[arg(long)]
    pub repair: bool,
}

/// Arguments of `shm bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Shorter measurements, which say less
    #[arg(long)]
    pub quick: bool,
}

/// Arguments of `shm completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: shm completions bash > ~/.local/share/bash-completion/completions/shm"
)]
pub struct CompletionsArgs {
    /// Whose
    pub shell: clap_complete::Shell,
}

/// Arguments of `shm man`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: shm man ~/.local/share/man/man1    writes shm.1, shm-ls.1 and so on; --format markdown writes cli.md"
)]
pub struct ManArgs {
    /// The folder for the pages
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// As manual pages or as Markdown
    #[arg(long, value_enum, default_value_t = Manual::Roff)]
    pub format: Manual,
}

/// The forms of the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Manual {
    /// Pages for `man`
    Roff,
    /// One page for a site
    Markdown,
}

/// `500ms`, `2s`, `1m`, or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("the unit `{unit}` is none of us, ms, s, m, h")),
    };
    let number: f64 = digits.parse().map_err(|_| "expected a number and a unit, as in 500ms")?;
    match Duration::try_from_secs_f64(number * scale) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a time longer than nothing".to_owned()),
    }
}

fn range(text: &str) -> Result<(f64, f64), String> {
    let expected = || "expected two numbers, the lower first, as in 0,1".to_owned();
    let (low, high) = text.split_once(',').ok_or_else(expected)?;
    match (low.trim().parse::<f64>(), high.trim().parse::<f64>()) {
        (Ok(low), Ok(high)) if low < high && low.is_finite() && high.is_finite() => Ok((low, high)),
        _ => Err(expected()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("expected frames a second, more than 0 and at most 1000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "ms", "0", "-1s", "1 fortnight", "nan", "inf", "1e300s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_and_rates_are_checked() {
        assert_eq!(range("-1, 2.5"), Ok((-1.0, 2.5)));
        for wrong in ["", "1", "2,1", "1,1", "nan,2", "0,inf"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-3", "nan", "inf", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
