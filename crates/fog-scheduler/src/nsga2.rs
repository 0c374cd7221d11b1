//! NSGA-II (Deb, Pratap, Agarwal, Meyarivan: A fast and elitist multiobjective genetic algorithm, IEEE
//! Transactions on Evolutionary Computation 6(2), 2002): fast non-dominated sorting, crowding distance,
//! elitism, and constraints handled by dominance, with no weights.

use std::cmp::Ordering;

use rand::{Rng, RngExt as _};

/// Evaluation of an individual.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation<const M: usize> {
    /// Objectives, each to be minimised.
    pub objectives: [f64; M],
    /// Degree of constraint violation; 0 if no constraint is violated.
    pub violation: f64,
}

impl<const M: usize> Evaluation<M> {
    /// Returns whether this evaluation dominates another one under constraints (definition 1 of the paper):
    /// feasible before infeasible, less violation before more, and among feasible ones no worse in any
    /// objective and better in at least one.
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        if self.violation > 0.0 || other.violation > 0.0 {
            return self.violation < other.violation;
        }
        let mut is_better = false;
        for (a, b) in self.objectives.iter().zip(&other.objectives) {
            if a > b {
                return false;
            }
            is_better |= a < b;
        }
        is_better
    }
}

/// Problem to be solved.
pub trait Problem<const M: usize> {
    /// Candidate solution.
    type Genome: Clone;
    /// Draws a random candidate.
    fn random(&self, rng: &mut impl Rng) -> Self::Genome;
    /// Evaluates a candidate.
    fn evaluate(&self, genome: &Self::Genome) -> Evaluation<M>;
    /// Creates two children of two parents.
    fn cross(&self, a: &Self::Genome, b: &Self::Genome, rng: &mut impl Rng) -> (Self::Genome, Self::Genome);
    /// Changes a candidate slightly.
    fn mutate(&self, genome: &mut Self::Genome, rng: &mut impl Rng);
}

/// Size and length of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Number of individuals that survive each generation, rounded up to an even number.
    pub population: usize,
    /// Number of generations after the first.
    pub generations: usize,
}

/// Candidate with its evaluation.
#[derive(Debug, Clone)]
pub struct Individual<G, const M: usize> {
    /// Candidate solution.
    pub genome: G,
    /// Evaluation of the candidate.
    pub worth: Evaluation<M>,
    rank: usize,
    crowding: f64,
}

/// NSGA-II search with its last population.
#[derive(Debug)]
pub struct Nsga2<G, const M: usize> {
    population: Vec<Individual<G, M>>,
}

impl<G: Clone, const M: usize> Nsga2<G, M> {
    /// Runs the search; the first population consists of `seeds`, filled up with random candidates.
    pub fn run<P: Problem<M, Genome = G>>(
        problem: &P,
        settings: Settings,
        seeds: Vec<G>,
        rng: &mut impl Rng,
    ) -> Self {
        let size = settings.population.max(2).next_multiple_of(2);
        let mut genomes = seeds;
        genomes.truncate(size);
        while genomes.len() < size {
            genomes.push(problem.random(rng));
        }
        let mut this = Self { population: Vec::with_capacity(size * 2) };
        this.population.extend(genomes.into_iter().map(|genome| Individual {
            worth: problem.evaluate(&genome),
            genome,
            rank: 0,
            crowding: 0.0,
        }));
        this.survive(size);
        for _ in 0..settings.generations {
            let parents = this.mating(size, rng);
            for pair in parents.chunks_exact(2) {
                let (mut a, mut b) =
                    problem.cross(&this.population[pair[0]].genome, &this.population[pair[1]].genome, rng);
                for child in [&mut a, &mut b] {
                    problem.mutate(child, rng);
                }
                for genome in [a, b] {
                    this.population.push(Individual {
                        worth: problem.evaluate(&genome),
                        genome,
                        rank: 0,
                        crowding: 0.0,
                    });
                }
            }
            this.survive(size);
        }
        this
    }

    /// Selects parents by binary tournaments on rank, then crowding; each individual takes part in two of
    /// them.
    fn mating(&self, size: usize, rng: &mut impl Rng) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(size);
        let mut order: Vec<usize> = (0..size).collect();
        for _ in 0..2 {
            for at in (1..size).rev() {
                order.swap(at, rng.random_range(0..=at));
            }
            for pair in order.chunks_exact(2) {
                let (a, b) = (&self.population[pair[0]], &self.population[pair[1]]);
                let is_first = (a.rank, -a.crowding) < (b.rank, -b.crowding);
                chosen.push(if is_first { pair[0] } else { pair[1] });
            }
        }
        chosen
    }

    /// Keeps the best `size` individuals: whole fronts, and the least crowded of the last one.
    fn survive(&mut self, size: usize) {
        let worths: Vec<&Evaluation<M>> = self.population.iter().map(|one| &one.worth).collect();
        let fronts = non_dominated_sort(&worths);
        let mut keep: Vec<(usize, usize, f64)> = Vec::with_capacity(size);
        for (rank, front) in fronts.iter().enumerate() {
            if keep.len() >= size {
                break;
            }
            let crowding = crowding_distance(&worths, front);
            let mut ranked: Vec<(usize, usize, f64)> =
                front.iter().zip(crowding).map(|(at, crowding)| (*at, rank, crowding)).collect();
            let room = size - keep.len();
            if ranked.len() > room {
                ranked.sort_by(|a, b| b.2.total_cmp(&a.2));
                ranked.truncate(room);
            }
            keep.extend(ranked);
        }
        let mut old: Vec<Option<Individual<G, M>>> =
            std::mem::take(&mut self.population).into_iter().map(Some).collect();
        self.population.extend(keep.into_iter().filter_map(|(at, rank, crowding)| {
            old[at].take().map(|one| Individual { rank, crowding, ..one })
        }));
    }

    /// Returns the feasible individuals that no other one dominates.
    #[must_use]
    pub fn front(&self) -> Vec<&Individual<G, M>> {
        self.population.iter().filter(|one| one.rank == 0 && one.worth.violation <= 0.0).collect()
    }
}

/// Sorts evaluations into fronts of indices: none dominates the first front, only members of the first
/// dominate the second, and so on.
///
/// The evaluations are sorted so that none dominates an earlier one. Each then goes to the first front
/// without a member that dominates it, found by binary search (ENS-BS, Zhang et al. 2015). With two
/// objectives and no violated constraint only the last member of a front is compared: O(n log n) (Jensen
/// 2003).
#[must_use]
pub fn non_dominated_sort<const M: usize>(worths: &[&Evaluation<M>]) -> Vec<Vec<usize>> {
    if M > 1 && worths.iter().all(|worth| worth.violation <= 0.0) {
        return fronts_of_allowed(worths);
    }
    let mut order: Vec<usize> = (0..worths.len()).collect();
    order.sort_unstable_by(|a, b| {
        let (a, b) = (worths[*a], worths[*b]);
        a.violation
            .max(0.0)
            .total_cmp(&b.violation.max(0.0))
            .then_with(|| by_objectives(&a.objectives, &b.objectives))
    });
    let mut fronts: Vec<Vec<usize>> = Vec::new();
    for at in order {
        // The newest member is compared first, as it is the nearest and the most likely to dominate.
        let place = fronts
            .partition_point(|front| front.iter().rev().any(|other| worths[*other].dominates(worths[at])));
        match fronts.get_mut(place) {
            Some(front) => front.push(at),
            None => fronts.push(vec![at]),
        }
    }
    fronts
}

fn by_objectives<const M: usize>(a: &[f64; M], b: &[f64; M]) -> Ordering {
    a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Sorts feasible evaluations into fronts. A later one is never better in the first objective, so an
/// earlier one dominates it if no worse in the others and not equal. Compared values are adjacent in
/// memory.
fn fronts_of_allowed<const M: usize>(worths: &[&Evaluation<M>]) -> Vec<Vec<usize>> {
    let mut order: Vec<([f64; M], usize)> =
        worths.iter().enumerate().map(|(at, worth)| (worth.objectives, at)).collect();
    order.sort_unstable_by(|(a, _), (b, _)| by_objectives(a, b));
    let asked = if M == 2 { 1 } else { usize::MAX };
    let mut fronts: Vec<(Vec<[f64; M]>, Vec<usize>)> = Vec::new();
    for (one, at) in order {
        let beats = |other: &[f64; M]| {
            other[1..].iter().zip(&one[1..]).all(|(other, one)| other <= one) && *other != one
        };
        let place = fronts.partition_point(|(front, _)| front.iter().rev().take(asked).any(beats));
        if place == fronts.len() {
            fronts.push((Vec::new(), Vec::new()));
        }
        fronts[place].0.push(one);
        fronts[place].1.push(at);
    }
    fronts.into_iter().map(|(_, places)| places).collect()
}

/// Returns the crowding distance of each member of a front: the distance of its neighbours over all
/// objectives, infinite at the ends.
#[must_use]
pub fn crowding_distance<const M: usize>(worths: &[&Evaluation<M>], front: &[usize]) -> Vec<f64> {
    let mut distance = vec![0.0; front.len()];
    if front.len() <= 2 {
        return vec![f64::INFINITY; front.len()];
    }
    let mut order: Vec<(f64, usize)> = Vec::with_capacity(front.len());
    for objective in 0..M {
        order.clear();
        order.extend(front.iter().enumerate().map(|(place, at)| (worths[*at].objectives[objective], place)));
        order.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        let ((least, first), (most, last)) = (order[0], order[order.len() - 1]);
        let span = most - least;
        distance[first] = f64::INFINITY;
        distance[last] = f64::INFINITY;
        if span > 0.0 {
            for three in order.windows(3) {
                distance[three[1].1] += (three[2].0 - three[0].0) / span;
            }
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn worth<const M: usize>(objectives: [f64; M]) -> Evaluation<M> {
        Evaluation { objectives, violation: 0.0 }
    }

    proptest! {
        /// All ways of sorting agree with the definition.
        #[test]
        fn fronts_are_as_defined(points in prop::collection::vec((0u8..12, 0u8..12, 0u8..3), 1..60)) {
            let of = |make: fn([f64; 3]) -> Evaluation<2>| points.iter().map(|(a, b, c)| make([*a, *b, *c].map(f64::from))).collect::<Vec<_>>();
            are_as_defined(&of(|[a, b, _]| worth([a, b])))?;
            are_as_defined(&of(|[a, b, c]| Evaluation { objectives: [a, b], violation: c }))?;
            let three: Vec<Evaluation<3>> = points.iter().map(|(a, b, c)| worth([*a, *b, *c].map(f64::from))).collect();
            are_as_defined(&three)?;
        }
    }

    fn are_as_defined<const M: usize>(worths: &[Evaluation<M>]) -> Result<(), TestCaseError> {
        let worths: Vec<&Evaluation<M>> = worths.iter().collect();
        let fronts = non_dominated_sort(&worths);
        prop_assert_eq!(fronts.iter().map(Vec::len).sum::<usize>(), worths.len());
        for (rank, front) in fronts.iter().enumerate() {
            for at in front {
                prop_assert!(!front.iter().any(|other| worths[*other].dominates(worths[*at])));
                prop_assert!(
                    rank == 0 || fronts[rank - 1].iter().any(|other| worths[*other].dominates(worths[*at]))
                );
            }
        }
        Ok(())
    }

    #[test]
    fn the_ends_of_a_front_are_never_crowded() {
        let worths: Vec<Evaluation<2>> = [[0.0, 4.0], [1.0, 2.0], [1.5, 1.9], [4.0, 0.0]].map(worth).into();
        let worths: Vec<&Evaluation<2>> = worths.iter().collect();
        let distance = crowding_distance(&worths, &[0, 1, 2, 3]);
        assert!(distance[0].is_infinite() && distance[3].is_infinite());
        assert!((distance[1] - (1.5 / 4.0 + 2.1 / 4.0)).abs() < 1e-12);
    }

    /// Problem to minimise x² and (x − 2)² (Schaffer's first problem), feasible from x = 1 on.
    struct Schaffer;
    impl Problem<2> for Schaffer {
        type Genome = f64;
        fn random(&self, rng: &mut impl Rng) -> f64 {
            rng.random_range(-100.0..100.0)
        }
        fn evaluate(&self, x: &f64) -> Evaluation<2> {
            Evaluation { objectives: [x * x, (x - 2.0) * (x - 2.0)], violation: (1.0 - x).max(0.0) }
        }
        fn cross(&self, a: &f64, b: &f64, rng: &mut impl Rng) -> (f64, f64) {
            let t = rng.random_range(-0.2..1.2);
            (a + (b - a) * t, b + (a - b) * t)
        }
        fn mutate(&self, x: &mut f64, rng: &mut impl Rng) {
            *x += rng.random_range(-0.1..0.1);
        }
    }

    #[test]
    fn the_front_of_a_known_problem_is_found_within_its_constraint() {
        let found = Nsga2::run(
            &Schaffer,
            Settings { population: 40, generations: 100 },
            Vec::new(),
            &mut StdRng::seed_from_u64(1),
        );
        let front = found.front();
        assert!(front.len() >= 30);
        assert!(
            front.iter().all(|one| (1.0..=2.01).contains(&one.genome)),
            "{:?}",
            front.iter().map(|o| o.genome).collect::<Vec<_>>()
        );
        let least = front.iter().map(|one| one.genome).fold(f64::MAX, f64::min);
        assert!(least < 1.05, "{least}");
    }
}
