//! The screen of `shm top`: a header, the table or another pane, the rate of the selected segment, the
//! keys.
//!
//! What does not fit is left out, the least needed first, down to a screen of one line.

use super::super::subject::bytes;
use super::super::watch::state::State;
use super::super::watch::time;
use super::figures::{cut, short, short_bytes};
use super::model::{Model, Order, Pane};
use super::row::Row;
use super::{detail, help};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{
    Block, Borders, Cell, Paragraph, RenderDirection, Row as TableRow, Sparkline, Table, TableState,
};

/// Lines of the pane that shows the rate, and of a screen that has one.
const SPARK: u16 = 5;
const TALL: u16 = 14;

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    let has_spark = area.height >= TALL && model.pane != Pane::Help && model.selected().is_some();
    let [title, body, spark, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(if has_spark { SPARK } else { 0 }),
        Constraint::Length(u16::from(area.height > 3)),
    ])
    .areas(area);
    frame.render_widget(header(model, title.width), title);
    match (model.pane, model.selected()) {
        (Pane::Help, _) => help::draw(frame, body),
        (Pane::Detail, Some(row)) => detail::draw(frame, body, row),
        _ => table(frame, body, model),
    }
    if let (true, Some(row)) = (has_spark, model.selected()) {
        sparkline(frame, spark, row);
    }
    frame.render_widget(footer(model), keys);
}

/// The colour of a state, and a sign for those who see none.
pub(crate) fn sign(state: State) -> (&'static str, Style) {
    match state {
        State::Live => ("●", Style::new().fg(Color::Green)),
        State::Silent => ("◌", Style::new().fg(Color::Yellow)),
        State::Full => ("▲", Style::new().fg(Color::Yellow)),
        State::OwnerGone => ("?", Style::new().fg(Color::Yellow)),
        State::WriterDied => ("✖", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)),
        State::Orphaned => ("✖", Style::new().fg(Color::Red)),
        State::NoWriter | State::Empty | State::Idle => ("○", Style::new().fg(Color::DarkGray)),
    }
}

fn header(model: &Model, width: u16) -> Line<'static> {
    let mut parts = vec![format!("{} segments", model.rows().len()), bytes(model.memory())];
    if let Some(space) = model.space {
        let (free, total) = (bytes(space.free), bytes(space.total));
        let of = if width < 100 { String::new() } else { format!(" of {total}") };
        parts.push(format!("/dev/shm {free} free{of}"));
    }
    if !model.prefix.is_empty() {
        parts.push(format!("{}*", model.prefix));
    }
    let left = format!(" {}", parts.join(" · "));
    let right = match model.is_paused {
        true => format!("PAUSED {} ", time(model.time_ns)),
        false => format!("{} UTC ", time(model.time_ns)),
    };
    let title = " shm top ";
    let room = usize::from(width).saturating_sub(title.len() + right.len());
    let left = format!("{:<room$}", cut(&left, room.saturating_sub(1)));
    let right = if model.is_paused { Span::from(right).yellow().bold() } else { right.into() };
    Line::from(vec![Span::from(title).black().on_cyan().bold(), left.into(), right])
}

fn footer(model: &Model) -> Line<'static> {
    let (order, _) = model.order();
    let key = |key: &'static str, what: &'static str, is_on: bool| {
        let style = if is_on { Style::new().underlined() } else { Style::new().dim() };
        [Span::from(format!(" {key} ")).cyan().bold(), Span::styled(what, style)]
    };
    let is_detail = model.pane == Pane::Detail;
    // The first ones remain on a narrow screen.
    let keys = [
        key("q", "quit", false),
        key("?", "help", model.pane == Pane::Help),
        key("↑↓", "select", false),
        key("enter", "detail", is_detail),
        key("space", "pause", model.is_paused),
        key("n", "name", order == Order::Name),
        key("r", "rate", order == Order::Rate),
        key("m", "mem", order == Order::Memory),
        key("p", "held", order == Order::Holders),
    ];
    Line::from(keys.into_iter().flatten().collect::<Vec<_>>())
}

/// A column: its heading, its width, and what a row has there.
struct Column {
    heading: &'static str,
    width: u16,
    is_right: bool,
    of: fn(&Row) -> String,
}

fn columns(width: u16) -> Vec<Column> {
    let left = |heading, width, of| Column { heading, width, is_right: false, of };
    let right = |heading, width, of| Column { heading, width, is_right: true, of };
    let is_wide = width >= 110;
    let mut columns = vec![left("name", 0, |row| row.name.clone())];
    let rate = right("rate/s", 6, |row| row.rate_per_s.map_or_else(|| "-".to_owned(), short));
    if width >= 50 {
        columns.push(left("kind", 6, |row| row.kind().to_owned()));
    }
    if is_wide {
        columns.push(left("state", 11, |row| row.state.to_string()));
    }
    match width {
        110.. => columns.push(left("carries", 34, |row| row.carries.clone())),
        72.. => columns.push(left("carries", 15, Row::carries_briefly)),
        _ => {}
    }
    columns.push(rate);
    if width >= 40 {
        columns.push(right("MB/s", 6, |row| row.mb_per_s.map_or_else(|| "-".to_owned(), short)));
    }
    if width >= 60 {
        columns.push(right("used", 4, Row::last_use));
        columns.push(right("in use", 7, Row::in_use));
    }
    if width >= 34 {
        columns.push(right(
            if is_wide { "holders" } else { "held" },
            if is_wide { 7 } else { 4 },
            |row| row.holders.to_string(),
        ));
    }
    if width >= 28 {
        columns.push(right("mem", 5, |row| short_bytes(row.memory_bytes)));
    }
    let others: u16 = columns.iter().skip(1).map(|column| column.width + 1).sum();
    // The sign and a space stand before the name.
    columns[0].width = width.saturating_sub(others + 2);
    columns
}

fn table(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if model.rows().is_empty() {
        let text = "no segments: a stream, pool or store of this user will appear here";
        frame.render_widget(Paragraph::new(text).dim().centered(), area);
        return;
    }
    let columns = columns(area.width);
    let headings = columns.iter().map(|column| aligned(column.heading.to_owned(), column));
    let headings = std::iter::once(Cell::from("")).chain(headings);
    let rows = model.rows().iter().map(|row| {
        let (sign, style) = sign(row.state);
        let cells = columns.iter().map(|column| aligned((column.of)(row), column));
        let is_alarming = style.fg != Some(Color::Green) && style.fg != Some(Color::DarkGray);
        let cells = std::iter::once(Cell::from(Span::styled(sign, style))).chain(cells);
        TableRow::new(cells).style(if is_alarming { style } else { Style::new() })
    });
    let widths = std::iter::once(1).chain(columns.iter().map(|column| column.width));
    let table = Table::new(rows, widths.map(Constraint::Length))
        .header(TableRow::new(headings).bold().underlined())
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .column_spacing(1);
    let mut state = TableState::new().with_selected(model.place());
    frame.render_stateful_widget(table, area, &mut state);
}

fn aligned(text: String, column: &Column) -> Cell<'static> {
    let text = cut(&text, column.width.into());
    let alignment = if column.is_right { Alignment::Right } else { Alignment::Left };
    Cell::from(Text::from(text).alignment(alignment))
}

fn sparkline(frame: &mut Frame<'_>, area: Rect, row: &Row) {
    let what = if row.slots.is_some() { "lends/s" } else { "frames/s" };
    let most = row.history.iter().max().copied().unwrap_or_default();
    let now = row.rate_per_s.map_or_else(|| "-".to_owned(), short);
    let figures = format!(" {what}: {now} now, {} at most ", short(most as f64 / 1e3));
    let name = cut(&row.name, usize::from(area.width).saturating_sub(figures.len() + 4));
    let (_, style) = sign(row.state);
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(Line::from(vec![Span::from(format!(" {name}")).bold(), figures.into()]));
    let newest_first = row.history.iter().rev().copied().collect::<Vec<_>>();
    let spark = Sparkline::default()
        .block(block)
        .style(style)
        .direction(RenderDirection::RightToLeft)
        .data(newest_first);
    frame.render_widget(spark, area);
}
