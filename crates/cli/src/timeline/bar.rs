//! The tracks of a step as cells on a time axis that all steps share.

use super::tracks::{StepTracks, Track};
use crate::output::{Style, Terminal};
use crate::time::Micros;

/// The time range of a bar and its width in cells.
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

    /// Returns the line above the bars, with the times of their ends.
    pub(super) fn scale(self, terminal: Terminal) -> String {
        let end = crate::time::format_duration(self.to - self.from);
        let line = if terminal.unicode { "─" } else { "-" };
        let width = self.cells.saturating_sub(end.len() + 3);
        format!("0 {} {end}", line.repeat(width))
    }

    /// Returns the bar of a step.
    pub(super) fn bar(self, tracks: &StepTracks, failed: bool, terminal: Terminal) -> String {
        let mut cells = vec![Cell::Empty; self.cells];
        let end = self.draw(&mut cells, &tracks.execution, 0, Cell::Wait, Cell::Start, Cell::Run);
        self.draw(
            &mut cells,
            &tracks.compensation,
            end,
            Cell::CompensationWait,
            Cell::CompensationStart,
            Cell::Compensation,
        );
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

    /// Draws a track from cell `first` on and returns the cell after it. A shorter segment gets one cell.
    fn draw(
        self,
        cells: &mut [Cell],
        track: &Track,
        first: usize,
        wait: Cell,
        start: Cell,
        run: Cell,
    ) -> usize {
        // Reserve the last cell for a compensation that starts and ends in it.
        let last = self.cells.saturating_sub(1);
        let mut next = first;
        for segment in &track.segments {
            let from = self.cell(segment.from).max(first).min(last);
            let to = self.cell(segment.to).max(from);
            if !segment.runs && to <= from {
                continue;
            }
            // If possible, an attempt starts after the previous one, so that each is visible.
            let from = if segment.runs { from.max(next).min(last) } else { from };
            let to = to.max(from);
            for (at, cell) in cells.iter_mut().enumerate().skip(from).take(to - from + 1) {
                match (segment.runs, at == from) {
                    (true, true) => *cell = start,
                    (true, false) => *cell = run,
                    (false, _) if at >= next && *cell == Cell::Empty => *cell = wait,
                    (false, _) => {}
                }
            }
            if segment.runs {
                next = to + 1;
            }
        }
        next
    }
}
