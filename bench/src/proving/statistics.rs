//! Figures of several repetitions, and ratios of those that took turns.
//!
//! Guards: a ratio is taken repetition by repetition, because the machine's own pace drifts, and only of repetitions in which both were
//! measured.

use serde::{Deserialize, Serialize};

/// The least, the middle and the most of some figures, and how many there were.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The one in the middle; of an even number the mean of the two.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
    /// How many.
    pub count: usize,
}

impl Figure {
    /// Of some figures; `None` if there is none. What is no number does not count.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
        figures.sort_by(f64::total_cmp);
        let (count, middle) = (figures.len(), figures.len() / 2);
        let (&least, &most) = (figures.first()?, figures.last()?);
        let median = if count % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) };
        Some(Self { median, least, most, count })
    }

    /// How far the others are from the middle, in parts of it.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.most - self.least) / self.median }
    }
}

/// One over the other, repetition by repetition; those in which one is missing are left out.
pub fn ratio(over: &[Option<f64>], under: &[Option<f64>]) -> Option<Figure> {
    let pairs = over.iter().zip(under);
    Figure::of(pairs.filter_map(|(over, under)| Some((*over)? / (*under).filter(|under| *under > 0.0)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_that_of_the_sorted_figures() {
        let of = |figures: &[f64]| Figure::of(figures.iter().copied()).map(|figure| figure.median);
        assert_eq!(of(&[5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(of(&[5.0, 1.0, 3.0, 4.0]), Some(3.5));
        assert_eq!(of(&[f64::NAN, 2.0]), Some(2.0));
        assert_eq!(of(&[]), None);
        let figure = Figure::of([4.0, 5.0, 6.0]).expect("three");
        assert_eq!((figure.least, figure.most, figure.count), (4.0, 6.0, 3));
        assert!((figure.spread() - 0.4).abs() < 1e-12);
    }

    #[test]
    fn a_ratio_is_that_of_turns_and_not_of_medians() {
        // The machine is twice as fast in the second half; side by side nothing changes.
        let over = [10.0, 10.0, 20.0, 20.0].map(Some);
        let under = [5.0, 5.0, 10.0, 10.0].map(Some);
        let figure = ratio(&over, &under).expect("four");
        assert_eq!((figure.median, figure.least, figure.most), (2.0, 2.0, 2.0));
        let figure = ratio(&[Some(4.0), None, Some(9.0)], &[Some(2.0), Some(1.0), Some(0.0)]).expect("one");
        assert_eq!((figure.median, figure.count), (2.0, 1));
        assert_eq!(ratio(&[None], &[Some(1.0)]), None);
    }
}
