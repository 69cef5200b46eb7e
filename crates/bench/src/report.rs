//! Figures, and the tables they end in.
use std::fmt::Write;

use serde_json::{Value, json};

use crate::Result;
use crate::about::About;

/// Which way a figure should go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Better {
    Less,
    More,
    /// Says something about the stand, not about the server.
    Neither,
}

#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub name: &'static str,
    pub value: f64,
    pub better: Better,
}

impl Figure {
    pub fn less(name: &'static str, value: f64) -> Figure {
        Figure { name, value, better: Better::Less }
    }
    pub fn more(name: &'static str, value: f64) -> Figure {
        Figure { name, value, better: Better::More }
    }
    pub fn neither(name: &'static str, value: f64) -> Figure {
        Figure { name, value, better: Better::Neither }
    }
}

/// All that one scenario gave on one server in one round.
#[derive(Debug)]
pub struct Sample {
    pub scenario: &'static str,
    pub server: usize,
    pub round: usize,
    pub figures: Vec<Figure>,
}

#[derive(Debug, Default)]
pub struct Report {
    pub about: About,
    /// Ours first.
    pub servers: Vec<String>,
    pub samples: Vec<Sample>,
}

impl Report {
    /// The rows: scenario, figure, its median on each server, how far ahead ours is.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for scenario in self.samples.iter().map(|sample| sample.scenario) {
            if seen.contains(&scenario) {
                continue;
            }
            seen.push(scenario);
            let first = self.samples.iter().find(|sample| sample.scenario == scenario);
            for (nth, figure) in first.into_iter().flat_map(|sample| &sample.figures).enumerate() {
                let medians: Vec<Option<f64>> = (0..self.servers.len())
                    .map(|server| self.median(scenario, server, figure.name))
                    .collect();
                let mut row = vec![if nth == 0 { scenario.to_owned() } else { String::new() }];
                row.push(figure.name.to_owned());
                row.extend(medians.iter().map(|median| median.map_or_else(|| "-".into(), digits)));
                row.push(ahead(figure.better, &medians));
                rows.push(row);
            }
        }
        rows
    }

    pub fn median(&self, scenario: &str, server: usize, figure: &str) -> Option<f64> {
        let of_it = self.samples.iter().filter(|s| s.scenario == scenario && s.server == server);
        let figures = of_it.flat_map(|sample| &sample.figures).filter(|f| f.name == figure);
        median(figures.map(|figure| figure.value).collect())
    }

    fn head(&self) -> Vec<String> {
        let ends = |text: &str| vec![text.to_owned()];
        [ends("scenario"), ends("figure"), self.servers.clone(), ends("ahead")].concat()
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let rows: Vec<Vec<String>> = [vec![self.head()], self.rows()].concat();
        let columns = self.head().len();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut table = String::new();
        for row in &rows {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 | 1 => write!(table, "{cell:width$}  "),
                    _ => write!(table, "{cell:>width$}  "),
                };
            }
            table.truncate(table.trim_end().len());
            table.push('\n');
        }
        table
    }

    pub fn markdown(&self) -> String {
        let line = |row: &[String]| format!("| {} |\n", row.join(" | "));
        let rule = format!("|---|---|{}\n", "--:|".repeat(self.head().len() - 2));
        let rows: String = self.rows().iter().map(|row| line(row)).collect();
        line(&self.head()) + &rule + &rows
    }

    /// Which way a figure should go.
    pub fn better(&self, scenario: &str, figure: &str) -> Option<Better> {
        let of_it = self.samples.iter().filter(|s| s.scenario == scenario);
        Some(of_it.flat_map(|sample| &sample.figures).find(|f| f.name == figure)?.better)
    }

    /// Every figure of every round.
    pub fn json(&self) -> Value {
        let sample = |sample: &Sample| {
            let figures =
                sample.figures.iter().map(|f| (f.name.to_owned(), json!([f.value, f.better.word()])));
            json!({
                "scenario": sample.scenario,
                "server": sample.server,
                "round": sample.round,
                "figures": figures.collect::<serde_json::Map<_, _>>(),
            })
        };
        let samples: Vec<Value> = self.samples.iter().map(sample).collect();
        json!({ "about": self.about.json(), "servers": self.servers, "samples": samples })
    }

    /// What `json` wrote. Names live as long as this program.
    pub fn read(json: &Value) -> Result<Report> {
        let list = |value: &Value| value.as_array().cloned().ok_or("not a report");
        let name = |value: &Value| value.as_str().map(|text| &*text.to_owned().leak()).ok_or("not a name");
        let number = |value: &Value| value.as_u64().map(|number| number as usize).ok_or("not a number");
        let mut report = Report { about: About::read(&json["about"]), ..Report::default() };
        for server in list(&json["servers"])? {
            report.servers.push(name(&server)?.to_owned());
        }
        for sample in list(&json["samples"])? {
            let mut figures = Vec::new();
            for (figure, value) in sample["figures"].as_object().ok_or("a sample without figures")? {
                let better = Better::of(value[1].as_str().unwrap_or_default());
                let value = value[0].as_f64().unwrap_or(f64::NAN);
                figures.push(Figure { name: figure.clone().leak(), value, better });
            }
            let (server, round) = (number(&sample["server"])?, number(&sample["round"])?);
            report.samples.push(Sample { scenario: name(&sample["scenario"])?, server, round, figures });
        }
        Ok(report)
    }
}

impl Better {
    fn word(self) -> &'static str {
        match self {
            Better::Less => "less",
            Better::More => "more",
            Better::Neither => "neither",
        }
    }

    fn of(word: &str) -> Better {
        match word {
            "less" => Better::Less,
            "more" => Better::More,
            _ => Better::Neither,
        }
    }
}

/// The middle one; of an even number the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// How many times better the first is than the second.
fn ahead(better: Better, medians: &[Option<f64>]) -> String {
    let [Some(ours), Some(other)] = medians else { return String::new() };
    let ratio = match better {
        Better::Less => other / ours,
        Better::More => ours / other,
        Better::Neither => return String::new(),
    };
    if ratio.is_finite() { format!("{}×", digits(ratio)) } else { String::new() }
}

/// Three digits, or the whole part where it has more.
pub fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 || v == 0.0 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let sample = |server, round, cpu, rate| Sample {
            scenario: "put-many",
            server,
            round,
            figures: vec![Figure::less("CPU", cpu), Figure::more("rate", rate)],
        };
        let samples = vec![
            sample(0, 0, 9.0, 60.0),
            sample(1, 0, 80.0, 20.0),
            sample(0, 1, 10.0, 61.0),
            sample(1, 1, 81.0, 20.5),
            sample(0, 2, 99.0, 1.0),
            sample(1, 2, 79.0, 19.0),
        ];
        Report { servers: vec!["Balsa".into(), "Go".into()], samples, ..Report::default() }
    }

    #[test]
    fn the_table_has_medians_and_how_far_ours_is_ahead() {
        let expected = "\
scenario  figure  Balsa    Go  ahead
put-many  CPU      10.0  80.0  8.00×
          rate     60.0  20.0  3.00×
";
        assert_eq!(report().table(), expected);
        let markdown = "\
| scenario | figure | Balsa | Go | ahead |
|---|---|--:|--:|--:|
| put-many | CPU | 10.0 | 80.0 | 8.00× |
|  | rate | 60.0 | 20.0 | 3.00× |
";
        assert_eq!(report().markdown(), markdown);
    }

    #[test]
    fn every_round_is_in_the_json() {
        let json = report().json();
        assert_eq!(json["samples"][4]["figures"]["CPU"], json!([99.0, "less"]));
        assert_eq!(json["samples"][5]["server"], 1);
        assert_eq!(Report::read(&json).unwrap().table(), report().table());
        assert!(Report::read(&json!({})).is_err());
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn three_digits() {
        assert_eq!(
            [0.0, 0.123, 9.996, 12.34, 99.96, 12345.6].map(digits),
            ["0", "0.12", "10.0", "12.3", "100", "12346"]
        );
    }
}
