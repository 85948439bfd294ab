//! The pane that explains keys and signs.

use super::super::watch::state::State;
use super::draw::sign;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph};

const KEYS: [(&str, &str); 9] = [
    ("n r m p", "sort by name, rate, memory, holders; again: the other way"),
    ("up down", "select; also k and j, page up and page down, home and end"),
    ("enter", "holders and counters of the selected segment, and back"),
    ("space", "pause, and go on"),
    ("?", "this page, and back"),
    ("esc", "back, or quit"),
    ("q ctrl-c", "quit"),
    ("", ""),
    ("used", "time since the last frame or lend that was noticed; > for at least"),
];

const STATES: [(State, &str); 8] = [
    (State::Live, "frames come, or slots are lent"),
    (State::Silent, "a writer is attached and has published nothing for 2 s"),
    (State::WriterDied, "the writer did not give its lock back"),
    (State::NoWriter, "nobody writes"),
    (State::Full, "every slot is in use"),
    (State::Idle, "nothing is lent"),
    (State::OwnerGone, "whoever created the pool is not attached"),
    (State::Orphaned, "nobody is attached; see `shm gc`"),
];

pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect) {
    let keys = KEYS.iter().map(|(key, what)| {
        Line::from(vec![Span::from(format!(" {key:<10} ")).cyan().bold(), (*what).into()])
    });
    let states = STATES.iter().map(|(state, what)| {
        let (sign, style) = sign(*state);
        let name = Span::styled(format!(" {sign} {state:<11} "), style);
        Line::from(vec![name, (*what).into()])
    });
    let lines: Vec<Line<'_>> = keys.chain([Line::default()]).chain(states).collect();
    let block = Block::bordered().border_type(BorderType::Rounded).title(" help ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
