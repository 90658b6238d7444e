//! A step's tracks as cells on a time axis that all steps share.

use super::tracks::{Track, StepTracks};
use crate::time::Micros;
use crate::output::{Style, Terminal};

/// The time that a bar shows, and its width in cells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) from: Micros,
    pub(super) to: Micros,
    pub(super) cells: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Empty,
    Wait,
    Start,
    Run,
    CompensationWait,
    CompensationStart,
    Compensation,
}

impl Cell {
    fn glyph(self, terminal: Terminal) -> char {
        let (unicode, ascii) = match self {
            Self::Empty => (' ', ' '),
            Self::Wait | Self::CompensationWait => ('·', '.'),
            Self::Start => ('▶', '>'),
            Self::Run => ('█', '='),
            Self::CompensationStart => ('◀', '<'),
            Self::Compensation => ('░', '~'),
        };
        if terminal.unicode { unicode } else { ascii }
    }
}

impl Axis {
    fn cell(self, at: Micros) -> usize {
        let length = i128::from((self.to - self.from).max(1));
        let cells = i128::try_from(self.cells).unwrap_or(1);
        let at = i128::from(at - self.from).max(0) * cells / length;
        usize::try_from(at).unwrap_or(0).min(self.cells.saturating_sub(1))
    }

    /// A line above the bars that says what their ends mean.
    pub(super) fn scale(self, terminal: Terminal) -> String {
        let end = crate::time::short(self.to - self.from);
        let line = if terminal.unicode { "─" } else { "-" };
        let room = self.cells.saturating_sub(end.len() + 3);
        format!("0 {} {end}", line.repeat(room))
    }

    /// The bar of a step.
    pub(super) fn bar(self, tracks: &StepTracks, failed: bool, terminal: Terminal) -> String {
        let mut cells = vec![Cell::Empty; self.cells];
        let end = self.draw(&mut cells, &tracks.execution, 0, Cell::Wait, Cell::Start, Cell::Run);
        self.draw(&mut cells, &tracks.compensation, end, Cell::CompensationWait, Cell::CompensationStart, Cell::Compensation);
        let style = |cell: Cell| match cell {
            Cell::Empty => None,
            Cell::Wait | Cell::CompensationWait => Some(Style::Dim),
            Cell::Start | Cell::Run => Some(if failed { Style::Failure } else { Style::Success }),
            Cell::CompensationStart | Cell::Compensation => Some(Style::Compensation),
        };
        cells
            .chunk_by(|a, b| style(*a) == style(*b))
            .map(|run| {
                let text: String = run.iter().map(|cell| cell.glyph(terminal)).collect();
                run.first()
                    .and_then(|cell| style(*cell))
                    .map_or(text.clone(), |style| terminal.paint(style, &text))
            })
            .collect()
    }

    /// Draws a track from cell `first` on; the cell behind it. What is shorter than a cell gets one.
    fn draw(
        self,
        cells: &mut [Cell],
        track: &Track,
        first: usize,
        wait: Cell,
        start: Cell,
        run: Cell,
    ) -> usize {
        // The last cell is kept free for an undo that begins and ends in it.
        let last = self.cells.saturating_sub(1);
        let mut behind = first;
        for segment in &track.segments {
            let from = self.cell(segment.from).max(first).min(last);
            let to = self.cell(segment.to).max(from);
            if !segment.runs && to <= from {
                continue;
            }
            // An attempt starts behind what is drawn, as far as there is room, so that each is seen.
            let from = if segment.runs { from.max(behind).min(last) } else { from };
            let to = to.max(from);
            for (at, cell) in cells.iter_mut().enumerate().skip(from).take(to - from + 1) {
                match (segment.runs, at == from) {
                    (true, true) => *cell = start,
                    (true, false) => *cell = run,
                    (false, _) if at >= behind && *cell == Cell::Empty => *cell = wait,
                    (false, _) => {}
                }
            }
            if segment.runs {
                behind = to + 1;
            }
        }
        behind
    }
}
