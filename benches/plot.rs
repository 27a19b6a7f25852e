//! Charts as SVG, drawn at the size at which a README shows them: with searchable text of at least
//! 12 pixels, each series named where it is, and an opaque background for light and dark pages.

use std::{fs, ops::Range};

use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, ChartContext},
    coord::{
        Shift,
        cartesian::Cartesian2d,
        combinators::IntoLogRange,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    },
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, PathElement, Rectangle},
    series::LineSeries,
    style::{
        Color, FontStyle, IntoFont, RGBColor, TextStyle, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::report::output_dir;

/// Colors of Okabe and Ito, which are distinguishable with any color vision, in the order in which
/// they differ most. Their yellow is too light for a white background.
pub const PALETTE: [RGBColor; 7] = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, BLACK];
pub const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
pub const VERMILION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
pub const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
pub const PURPLE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);
pub const ORANGE: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
pub const SKY_BLUE: RGBColor = RGBColor(0x56, 0xb4, 0xe9);
pub const BLACK: RGBColor = RGBColor(0x00, 0x00, 0x00);
/// For what is not the subject of a chart.
pub const GRAY: RGBColor = RGBColor(0x9a, 0xa0, 0xa6);

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xe8);

/// The width of a README.
const WIDTH: i32 = 800;
const MARGIN: i32 = 14;
/// The height of the title, and of the axis with its name.
const HEAD: i32 = 44;
const FOOT: i32 = 46;
/// Sizes of fonts in the unit of plotters, of which 1.24 are a pixel.
const TITLE: i32 = 23;
const TEXT: i32 = 17;
/// The pixels between the baselines of two lines of text.
const LEADING: i32 = 19;

/// Values by a number, such as a number of threads.
#[derive(Debug)]
pub struct Lines {
    title: String,
    x: &'static str,
    y: &'static str,
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Lines {
    const HEIGHT: i32 = 440;
    /// The width of the names of the lines.
    const NAMES: i32 = 190;
    const Y_AXIS: i32 = 66;

    /// `x` and `y` are the names of the axes, with units.
    pub fn new(title: impl Into<String>, x: &'static str, y: &'static str) -> Self {
        Self {
            title: title.into(),
            x,
            y,
            lines: Vec::new(),
        }
    }

    /// Adds a line, in the next color of the palette. All lines have the same x, each a power of
    /// two.
    pub fn line(mut self, name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        self.lines.push((name.into(), points));
        self
    }

    /// Writes the chart to the output directory. The y axis is linear and begins at 0.
    pub fn draw(self, file: &str) {
        draw(file, Self::HEIGHT, |area| {
            let points = || self.lines.iter().flat_map(|(_, points)| points);
            let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(1.0, f64::max);
            let x = 0.0..most(|(x, _)| *x).log2();
            let y = 0.0..most(|(_, y)| *y) * 1.05;
            let ticks = x.end as usize + 1;
            let mut chart = ChartBuilder::on(area)
                .margin(MARGIN)
                .margin_right(Self::NAMES)
                .margin_top(MARGIN + HEAD)
                .x_label_area_size(FOOT)
                .y_label_area_size(Self::Y_AXIS)
                .build_cartesian_2d(x, y)
                .unwrap();
            chart
                .configure_mesh()
                .x_desc(self.x)
                .y_desc(self.y)
                .axis_desc_style(style(FontStyle::Normal))
                .label_style(style(FontStyle::Normal))
                .axis_style(INK)
                .bold_line_style(GRID)
                .light_line_style(GRID.mix(0.0))
                .x_labels(ticks)
                .y_labels(6)
                .x_label_formatter(&|x| short(x.exp2()))
                .y_label_formatter(&|y| short(*y))
                .draw()
                .unwrap();
            let mut names = Vec::new();
            for ((name, points), color) in self.lines.iter().zip(PALETTE.into_iter().cycle()) {
                let points: Vec<_> = points.iter().map(|(x, y)| (x.log2(), *y)).collect();
                if let Some(last) = points.last() {
                    let end = chart.backend_coord(last);
                    names.push(Name {
                        text: name,
                        color,
                        end,
                        y: end.1,
                    });
                }
                for point in &points {
                    dot(area, chart.backend_coord(point), color);
                }
                let series = LineSeries::new(points, color.stroke_width(3));
                chart.draw_series(series).unwrap();
            }
            separate(&mut names, Self::HEIGHT - FOOT - MARGIN);
            for name in names {
                let (x, y) = name.end;
                let leader = [(x + 6, y), (x + 20, name.y)];
                let leader = PathElement::new(leader, name.color.stroke_width(2));
                area.draw(&leader).unwrap();
                let style = style(FontStyle::Normal);
                write(area, name.text, (x + 25, name.y), HPos::Left, &style);
            }
            title(area, &self.title);
        });
    }
}

/// The name of a line, beside the end of the line.
struct Name<'a> {
    text: &'a str,
    color: RGBColor,
    end: (i32, i32),
    /// The height of the text.
    y: i32,
}

/// Moves names so that no two overlap.
fn separate(names: &mut [Name<'_>], lowest: i32) {
    names.sort_by_key(|name| name.y);
    let mut limit = i32::MIN;
    for name in names.iter_mut() {
        name.y = name.y.max(limit);
        limit = name.y + LEADING;
    }
    let mut limit = lowest;
    for name in names.iter_mut().rev() {
        name.y = name.y.min(limit);
        limit = name.y - LEADING;
    }
}

/// One value in each row: as a bar from 0, or as a dot on a logarithmic axis.
#[derive(Debug)]
pub struct Rows {
    title: String,
    x: &'static str,
    are_bars: bool,
    /// `None` is a gap between groups.
    rows: Vec<Option<Row>>,
}

/// A row of [`Rows`].
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub value: f64,
    /// A range around the value, such as that of half of all measurements.
    pub spread: Option<Range<f64>>,
    pub color: RGBColor,
    pub is_bold: bool,
}

impl Rows {
    const ROW: i32 = 27;
    const GAP: i32 = 13;
    /// The height of a bar.
    const BAR: i32 = 16;
    /// The width of a character of a name, at most.
    const CHARACTER: i32 = 7;
    /// The width of the value of the longest bar.
    const VALUE: i32 = 74;

    /// `x` is the name of the axis, with its unit.
    pub fn bars(title: impl Into<String>, x: &'static str) -> Self {
        Self {
            title: title.into(),
            x,
            are_bars: true,
            rows: Vec::new(),
        }
    }

    /// `x` is the name of the axis, with its unit.
    pub fn dots(title: impl Into<String>, x: &'static str) -> Self {
        Self {
            are_bars: false,
            ..Self::bars(title, x)
        }
    }

    pub fn row(mut self, row: Row) -> Self {
        self.rows.push(Some(row));
        self
    }

    /// Adds a gap between two groups of rows.
    pub fn gap(mut self) -> Self {
        if !self.rows.is_empty() {
            self.rows.push(None);
        }
        self
    }

    /// Writes the chart to the output directory.
    pub fn draw(self, file: &str) {
        let height = |row: &Option<Row>| row.as_ref().map_or(Self::GAP, |_| Self::ROW);
        let rows: i32 = self.rows.iter().map(height).sum();
        draw(file, MARGIN + HEAD + rows + FOOT + MARGIN, |area| {
            let rows = self.rows.iter().flatten();
            let ends = rows.flat_map(|row| {
                let spread = row.spread.clone().unwrap_or(row.value..row.value);
                [row.value, spread.start, spread.end]
            });
            let (least, most) = ends.fold((f64::INFINITY, 1e-9), |(least, most), end| {
                (f64::min(least, end), f64::max(most, end))
            });
            if self.are_bars {
                self.draw_on(area, 0.0..most, height);
            } else {
                self.draw_on(area, (least * 0.8..most * 1.25).log_scale(), height);
            }
            title(area, &self.title);
        });
    }

    /// The width of the names of the rows.
    fn names(&self) -> i32 {
        let lengths = self.rows.iter().flatten().map(|row| row.name.len());
        let longest = lengths.max().unwrap_or_default();
        16 + Self::CHARACTER * i32::try_from(longest).unwrap()
    }

    fn draw_on<X>(&self, area: &Area<'_>, x: X, height: impl Fn(&Option<Row>) -> i32)
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin(MARGIN)
            .margin_top(MARGIN + HEAD)
            .margin_right(MARGIN + Self::VALUE)
            .x_label_area_size(FOOT)
            .y_label_area_size(self.names())
            .build_cartesian_2d(x, 0.0..1.0)
            .unwrap();
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_desc(self.x)
            .axis_desc_style(style(FontStyle::Normal))
            .label_style(style(FontStyle::Normal))
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(GRID.mix(0.0))
            .x_labels(6)
            .x_label_formatter(&|x| short(*x))
            .draw()
            .unwrap();
        let mut top = MARGIN + HEAD;
        for row in &self.rows {
            let middle = top + height(row) / 2;
            top += height(row);
            if let Some(row) = row {
                self.draw_row(area, &chart, row, middle);
            }
        }
    }

    fn draw_row<X>(&self, area: &Area<'_>, chart: &Chart<'_, X>, row: &Row, middle: i32)
    where
        X: Ranged<ValueType = f64>,
    {
        let at = |value: f64| chart.backend_coord(&(value, 0.0)).0;
        let (end, color) = (at(row.value), row.color);
        let mut rightmost = end;
        if self.are_bars {
            let (top, bottom) = (middle - Self::BAR / 2, middle + Self::BAR / 2);
            let bar = Rectangle::new([(at(0.0), top), (end, bottom)], color.filled());
            area.draw(&bar).unwrap();
        }
        if let Some(spread) = &row.spread {
            let ends = [(at(spread.start), middle), (at(spread.end), middle)];
            rightmost = rightmost.max(ends[1].0);
            let line = PathElement::new(ends, color.stroke_width(3));
            area.draw(&line).unwrap();
        }
        if !self.are_bars {
            dot(area, (end, middle), color);
            rightmost = rightmost.max(end + 5);
        }
        let weight = if row.is_bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let style = style(weight);
        let name = (MARGIN + self.names() - 8, middle);
        write(area, &row.name, name, HPos::Right, &style);
        let value = (rightmost + 7, middle);
        write(area, &short(row.value), value, HPos::Left, &style);
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, X> =
    ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, plotters::coord::types::RangedCoordf64>>;

fn draw(file: &str, height: i32, paint: impl FnOnce(&Area<'_>)) {
    let path = output_dir().join(file).with_extension("svg");
    let mut svg = String::new();
    {
        let size = (WIDTH.cast_unsigned(), height.cast_unsigned());
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).unwrap();
        paint(&area);
        area.present().unwrap();
    }
    fs::write(&path, svg).unwrap();
    println!("drawn: {}", path.display());
}

fn title(area: &Area<'_>, title: &str) {
    let style = sized(TITLE, FontStyle::Bold);
    write(area, title, (MARGIN, MARGIN + HEAD / 3), HPos::Left, &style);
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), side: HPos, style: &TextStyle<'_>) {
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw_text(text, &style, at).unwrap();
}

fn dot(area: &Area<'_>, at: (i32, i32), color: RGBColor) {
    area.draw(&Circle::new(at, 5, color.filled())).unwrap();
}

fn style(weight: FontStyle) -> TextStyle<'static> {
    sized(TEXT, weight)
}

fn sized(size: i32, weight: FontStyle) -> TextStyle<'static> {
    ("sans-serif", size).into_font().style(weight).color(&INK)
}

/// Formats a number with at most two decimals, or as a whole number with commas between thousands.
fn short(figure: f64) -> String {
    if figure.abs() >= 100.0 {
        return grouped(figure);
    }
    let rounded = match figure.abs() {
        ..1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.1}"),
    };
    let rounded = rounded.trim_end_matches('0');
    rounded.trim_end_matches('.').to_owned()
}

/// Formats a whole number with commas between thousands.
pub fn grouped(figure: f64) -> String {
    let digits = format!("{:.0}", figure.abs());
    let mut text = String::new();
    if figure < 0.0 && digits != "0" {
        text.push('-');
    }
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
