//! The chart: a bar for each peer, on a linear scale that begins at 0, with an opaque background
//! for light and dark pages.

use std::error::Error;

use plotters::{
    coord::Shift,
    prelude::{
        DrawingArea, FontStyle, IntoDrawingArea, IntoFont, PathElement, RGBColor, Rectangle,
        SVGBackend, WHITE,
    },
    style::{
        Color, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::grouped;
use crate::{
    measure::{Cost, Results, Unit},
    peers::Side,
};

type Chart<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const FAINT: RGBColor = RGBColor(0x59, 0x63, 0x6e);
const LINE: RGBColor = RGBColor(0xd1, 0xd9, 0xe0);
const FLOOR: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const OURS: RGBColor = RGBColor(0x09, 0x69, 0xda);
const THEIRS: RGBColor = RGBColor(0xaf, 0xb8, 0xc1);

const WIDTH: i32 = 1_020;
const MARGIN: i32 = 24;
/// The start of all bars, and the end of the longest.
const BARS: (i32, i32) = (500, 860);
const HEAD: i32 = 92;
const ROW: i32 = 34;
const BAR: i32 = 18;
const FOOT: i32 = 20;

/// Draws the results as SVG.
pub(crate) fn svg(results: &Results) -> Result<String, Box<dyn Error>> {
    let costs = &results.costs;
    let rows = i32::try_from(costs.len())?;
    let height = HEAD + rows * ROW + FOOT;
    let mut svg = String::new();
    {
        let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
        let chart = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        chart.fill(&WHITE)?;
        chart.draw(&Rectangle::new([(0, 0), (WIDTH - 1, height - 1)], LINE))?;
        head(&chart, results.unit)?;
        let axis = [(BARS.0, HEAD), (BARS.0, height - FOOT)];
        chart.draw(&PathElement::new(axis, LINE))?;
        let longest = costs
            .iter()
            .map(|cost| cost.in_unit(results.unit))
            .fold(1.0, f64::max);
        for (row, cost) in (0..).zip(costs) {
            bar(
                &chart,
                cost,
                HEAD + row * ROW + ROW / 2,
                results.unit,
                longest,
            )?;
        }
        chart.present()?;
    }
    Ok(svg)
}

fn head(chart: &Chart<'_>, unit: Unit) -> Result<(), Box<dyn Error>> {
    let unit = match unit {
        Unit::Instructions => "instructions",
        Unit::Nanoseconds => "nanoseconds",
    };
    let title = text(22.0, FontStyle::Bold, INK, HPos::Left);
    chart.draw_text("Cost per request by peer", &title, (MARGIN, 32))?;
    let subtitle = text(16.0, FontStyle::Normal, FAINT, HPos::Left);
    let subtitle_text = format!(
        "Adding a fresh bearer token to a request: {unit} above the same request without a token."
    );
    chart.draw_text(&subtitle_text, &subtitle, (MARGIN, 60))?;
    Ok(())
}

fn bar(
    chart: &Chart<'_>,
    cost: &Cost,
    middle: i32,
    unit: Unit,
    longest: f64,
) -> Result<(), Box<dyn Error>> {
    let (color, weight) = match cost.peer.side {
        Side::Floor => (FLOOR, FontStyle::Normal),
        Side::Ours => (OURS, FontStyle::Bold),
        Side::Theirs => (THEIRS, FontStyle::Normal),
    };
    let ink = if cost.peer.side == Side::Ours {
        OURS
    } else {
        INK
    };
    let (from, to) = BARS;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most the width of the chart"
    )]
    let length = (f64::from(to - from) * cost.in_unit(unit) / longest).round() as i32;
    let end = from + length.max(1);
    chart.draw(&Rectangle::new(
        [(from, middle - BAR / 2), (end, middle + BAR / 2)],
        color.filled(),
    ))?;
    let label = cost.peer.title().replace('`', "");
    let style = text(15.0, weight, ink, HPos::Right);
    chart.draw_text(&label, &style, (from - 10, middle))?;
    let style = text(15.0, weight, ink, HPos::Left);
    let nanoseconds = cost.nanoseconds;
    let value = match unit {
        Unit::Instructions => format!("{} ({nanoseconds:.0} ns)", grouped(cost.in_unit(unit))),
        Unit::Nanoseconds => format!("{nanoseconds:.0} ns"),
    };
    chart.draw_text(&value, &style, (end + 8, middle))?;
    Ok(())
}

fn text(size: f64, weight: FontStyle, ink: RGBColor, from: HPos) -> TextStyle<'static> {
    let font = ("sans-serif", size).into_font().style(weight);
    font.color(&ink).pos(Pos::new(from, VPos::Center))
}
