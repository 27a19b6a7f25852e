//! Line charts as SVG: with searchable text, and an opaque background for pages of any color.

use std::ops::Range;

use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::{
        Shift,
        combinators::IntoLogRange,
        ranged1d::{AsRangedCoord, ValueFormatter},
    },
    drawing::{DrawingArea, IntoDrawingArea},
    element::{PathElement, Rectangle},
    series::LineSeries,
    style::{Color, IntoFont, RGBColor},
};

use crate::report::output_dir;

/// Blue, orange, green, purple and brown that are distinguishable with most color vision and in
/// print.
pub const PALETTE: [RGBColor; 5] = [
    RGBColor(0x1f, 0x5f, 0xa8),
    RGBColor(0xd9, 0x6b, 0x0b),
    RGBColor(0x2c, 0x8a, 0x57),
    RGBColor(0x7b, 0x4f, 0xa3),
    RGBColor(0x8a, 0x5a, 0x3c),
];

const SIZE: (u32, u32) = (960, 540);
const BACKGROUND: RGBColor = RGBColor(0xfd, 0xfd, 0xfb);
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const GRID: RGBColor = RGBColor(0xe3, 0xe3, 0xdf);
const FONT: &str = "sans-serif";

/// A chart. Its axes span its data.
#[derive(Debug)]
pub struct Plot {
    title: String,
    x: &'static str,
    y: &'static str,
    is_logarithmic: bool,
    is_doubling: bool,
    lines: Vec<Line>,
    shades: Vec<(Range<f64>, &'static str)>,
}

#[derive(Debug)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    has_points: bool,
}

impl Plot {
    /// `x` and `y` are the labels of the axes, with units.
    pub fn new(title: impl Into<String>, x: &'static str, y: &'static str) -> Self {
        Self {
            title: title.into(),
            x,
            y,
            is_logarithmic: false,
            is_doubling: false,
            lines: Vec::new(),
            shades: Vec::new(),
        }
    }

    /// Makes the y axis logarithmic. Otherwise it is linear and begins at 0.
    pub fn logarithmic(mut self) -> Self {
        self.is_logarithmic = true;
        self
    }

    /// Makes the x axis logarithmic, with a tick for each power of two.
    pub fn doubling(mut self) -> Self {
        self.is_doubling = true;
        self
    }

    /// Adds a line, in the next color of the palette.
    pub fn line(self, name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        self.with(name.into(), points, false)
    }

    /// Adds a line with a dot at each point.
    pub fn line_with_points(self, name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        self.with(name.into(), points, true)
    }

    fn with(mut self, name: String, points: Vec<(f64, f64)>, has_points: bool) -> Self {
        self.lines.push(Line {
            name,
            points,
            has_points,
        });
        self
    }

    /// Shades a part of the x axis.
    pub fn shade(mut self, range: Range<f64>, name: &'static str) -> Self {
        self.shades.push((range, name));
        self
    }

    /// Writes the chart to the output directory.
    pub fn draw(self, name: &str) {
        let path = output_dir().join(name).with_extension("svg");
        let area = SVGBackend::new(&path, SIZE).into_drawing_area();
        area.fill(&BACKGROUND).unwrap();
        let x = range(self.points().map(|(x, _)| x));
        let y = range(self.points().map(|(_, y)| y));
        // Room for the legend above the lines.
        let below_legend = 0.92 - 0.05 * (self.lines.len() + self.shades.len()) as f64;
        if self.is_logarithmic {
            let least = y.start * 0.8;
            let most = least * (y.end / least).powf(1.0 / below_legend);
            self.draw_on(&area, x, (least..most).log_scale());
        } else {
            self.draw_on(&area, x, 0.0..(y.end / below_legend));
        }
        area.present().unwrap();
        println!("drawn: {}", path.display());
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.lines.iter().flat_map(|line| self.coordinates(line))
    }

    /// The coordinates of the points of a line.
    fn coordinates<'a>(&self, line: &'a Line) -> impl Iterator<Item = (f64, f64)> + use<'a> {
        let is_doubling = self.is_doubling;
        let coordinate = move |x: f64| if is_doubling { x.log2() } else { x };
        line.points.iter().map(move |&(x, y)| (coordinate(x), y))
    }

    fn draw_on<Y>(&self, area: &Area<'_>, x: Range<f64>, y: Y)
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let font = |size: u32| (FONT, size).into_font().color(&INK);
        // Whole numbers only, such as numbers of threads.
        let steps = (x.end - x.start) as usize;
        let is_whole = steps < 12 && self.points().all(|(x, _)| x.fract() == 0.0);
        let ticks = if is_whole { steps + 1 } else { 12 };
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(24))
            .margin(16)
            .x_label_area_size(52)
            .y_label_area_size(76)
            .build_cartesian_2d(x, y)
            .unwrap();
        let heights = chart.y_range();
        for (shaded, name) in &self.shades {
            let corners = [(shaded.start, heights.start), (shaded.end, heights.end)];
            let fill = INK.mix(0.08).filled();
            chart
                .draw_series([Rectangle::new(corners, fill)])
                .unwrap()
                .label(*name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 6), (x + 24, y + 6)], fill));
        }
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .axis_desc_style(font(18))
            .label_style(font(16))
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(BACKGROUND.mix(0.0))
            .x_labels(ticks)
            .x_label_formatter(&|x| short(&if self.is_doubling { x.exp2() } else { *x }))
            .y_label_formatter(&short)
            .draw()
            .unwrap();
        for (line, color) in self.lines.iter().zip(PALETTE.iter().cycle()) {
            let style = color.stroke_width(2);
            let size = if line.has_points { 4 } else { 0 };
            chart
                .draw_series(LineSeries::new(self.coordinates(line), style).point_size(size))
                .unwrap()
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .legend_area_size(32)
            .margin(12)
            .label_font(font(16))
            .background_style(BACKGROUND.mix(0.9))
            .border_style(GRID)
            .draw()
            .unwrap();
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn range(figures: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, most) = figures.fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(least, most), figure| (least.min(figure), most.max(figure)),
    );
    least..most
}

/// Formats a number with up to two decimals.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that plotters needs"
)]
fn short(figure: &f64) -> String {
    let rounded = format!("{figure:.2}");
    rounded
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}
