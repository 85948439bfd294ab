//! The pane that shows one segment: what it is, who is attached, every counter.

use super::super::subject::bytes;
use super::super::watch::age;
use super::draw::sign;
use super::figures::cut;
use super::row::Row;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph};
use std::time::Duration;

/// Lines of what a segment is, with its frame.
const FACTS: u16 = 7;

pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, row: &Row) {
    let [top, below] =
        Layout::vertical([Constraint::Length(FACTS), Constraint::Min(0)]).areas(area);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(below);
    pane(frame, top, &row.name, facts(row));
    let holders = holders(row);
    pane(frame, left, &format!("holders ({})", row.holders), holders);
    pane(frame, right, "counters", counters(row, right.width));
}

fn pane(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'static>>) {
    let title = format!(" {} ", cut(title, usize::from(area.width).saturating_sub(4)));
    let block = Block::bordered().border_type(BorderType::Rounded).title(title.bold());
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn facts(row: &Row) -> Vec<Line<'static>> {
    let subject = &row.subject;
    let (sign, style) = sign(row.state);
    let state = Span::styled(format!("{sign} {}", row.state), style);
    let used = match row.last_use_s {
        Some(seconds) => format!(", used {} ago", age(seconds)),
        None => format!(", not used for at least {}", age(row.known_for.as_secs_f64())),
    };
    let fact = |name: &str, value: String| {
        Line::from(vec![Span::from(format!("{name:<8}")).dim(), value.into()])
    };
    let lock = match (subject.writer_locked, subject.counter("writer_pid"), row.slots) {
        (true, pid, _) => format!("; writer lock held by {pid}"),
        (false, pid, None) if pid != 0 => format!("; writer {pid} did not give its lock back"),
        _ => String::new(),
    };
    let created = age(subject.age().as_secs_f64());
    vec![
        Line::from(vec![Span::from("state   ").dim(), state, used.into()]),
        fact("carries", format!("{}: {}", row.kind(), row.carries)),
        fact("memory", format!("{} of {}", bytes(subject.allocated_bytes), bytes(subject.bytes))),
        fact("created", format!("{created} ago by process {}{lock}", subject.creator_pid)),
        fact("file", subject.path.clone()),
    ]
}

fn holders(row: &Row) -> Vec<Line<'static>> {
    let now = shm_core::clock::monotonic_ns();
    let holders = row.subject.holders.iter().map(|holder| {
        let since = Duration::from_nanos(now.saturating_sub(holder.since_mono_ns));
        let (pid, role) = (holder.pid, holder.role);
        let line = Line::from(format!("{pid:>8}  {role:<8} {:>8}", age(since.as_secs_f64())));
        if role == "writer" { line.green() } else { line }
    });
    let heading = Line::from(format!("{:>8}  {:<8} {:>8}", "pid", "role", "for")).dim();
    std::iter::once(heading).chain(holders).collect()
}

fn counters(row: &Row, width: u16) -> Vec<Line<'static>> {
    let room = usize::from(width).saturating_sub(4).min(44);
    row.subject
        .counters
        .iter()
        .map(|(name, value)| {
            let value = value.to_string();
            let name = cut(name, room.saturating_sub(value.len() + 1));
            let gap = " ".repeat(room.saturating_sub(name.chars().count() + value.len()));
            Line::from(vec![Span::from(format!(" {name}{gap}")).dim(), value.into()])
        })
        .collect()
}
