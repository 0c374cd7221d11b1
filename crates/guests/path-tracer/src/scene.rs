use crate::vector::Vector;

/// Light bounces at most this often.
const MAX_BOUNCES: u32 = 6;

/// A small generator with a seed for each pixel: SplitMix64 (Steele et al. 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give shifted copies of one sequence: mixed once first.
        let mut mixer = Self(seed);
        Self((mixer.next() * (1u64 << 53) as f64) as u64 ^ seed << 32)
    }

    /// Evenly from 0 to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[derive(Clone, Copy)]
enum Surface {
    Matte,
    Mirror,
    Glass,
}

struct Sphere {
    centre: Vector,
    radius: f64,
    colour: Vector,
    glow: Vector,
    surface: Surface,
}

const fn sphere(x: f64, y: f64, z: f64, radius: f64, colour: Vector, surface: Surface) -> Sphere {
    Sphere { centre: Vector::new(x, y, z), radius, colour, glow: Vector::ZERO, surface }
}

const WHITE: Vector = Vector::new(0.85, 0.85, 0.82);

/// Balls of teal, glass and steel on a pale floor, under one lamp and the sky.
const SCENE: [Sphere; 9] = [
    sphere(0.0, -1000.0, 0.0, 1000.0, Vector::new(0.75, 0.75, 0.72), Surface::Matte),
    sphere(-1.35, 0.6, 0.2, 0.6, Vector::new(0.05, 0.55, 0.55), Surface::Matte),
    sphere(0.0, 0.7, 0.0, 0.7, Vector::new(0.98, 0.98, 0.98), Surface::Glass),
    sphere(1.4, 0.6, 0.3, 0.6, Vector::new(0.9, 0.9, 0.92), Surface::Mirror),
    sphere(0.65, 0.25, 1.1, 0.25, Vector::new(0.9, 0.45, 0.15), Surface::Matte),
    sphere(-0.6, 0.22, 1.2, 0.22, Vector::new(0.75, 0.15, 0.25), Surface::Matte),
    sphere(-0.1, 0.16, 1.5, 0.16, WHITE, Surface::Mirror),
    sphere(0.2, 1.1, -2.4, 1.1, Vector::new(0.3, 0.35, 0.6), Surface::Matte),
    Sphere {
        centre: Vector::new(-2.5, 5.5, 3.0),
        radius: 1.2,
        colour: Vector::ZERO,
        glow: Vector::new(11.0, 10.0, 8.5),
        surface: Surface::Matte,
    },
];

impl Sphere {
    /// Distance to the first hit in front of `from`.
    fn hit(&self, from: Vector, towards: Vector) -> Option<f64> {
        let to = self.centre - from;
        let b = to.dot(towards);
        let root = (b * b - to.dot(to) + self.radius * self.radius).sqrt();
        [b - root, b + root].into_iter().find(|t| *t > 1e-4)
    }
}

/// Light that reaches the camera through the point (u, v) of its picture, heights from -½ to ½.
pub fn radiance(u: f64, v: f64, random: &mut Random) -> Vector {
    let eye = Vector::new(0.0, 1.5, 5.0);
    let forward = (Vector::new(0.0, 0.55, 0.0) - eye).unit();
    let right = forward.cross(Vector::new(0.0, 1.0, 0.0)).unit();
    let up = right.cross(forward);
    trace(eye, (forward * 1.5 + right * u + up * v).unit(), random)
}

fn trace(mut from: Vector, mut towards: Vector, random: &mut Random) -> Vector {
    let mut light = Vector::ZERO;
    let mut through = Vector::new(1.0, 1.0, 1.0);
    for _ in 0..MAX_BOUNCES {
        let nearest = SCENE
            .iter()
            .filter_map(|s| s.hit(from, towards).map(|t| (t, s)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((distance, ball)) = nearest else {
            return light + through.tint(sky(towards));
        };
        light = light + through.tint(ball.glow);
        through = through.tint(ball.colour);
        let point = from + towards * distance;
        let outward = (point - ball.centre) * (1.0 / ball.radius);
        let normal = if outward.dot(towards) < 0.0 { outward } else { outward * -1.0 };
        towards = match ball.surface {
            Surface::Matte => scatter(normal, random),
            Surface::Mirror => reflect(towards, normal),
            Surface::Glass => refract(towards, normal, outward.dot(towards) < 0.0, random),
        };
        from = point;
    }
    light
}

fn sky(towards: Vector) -> Vector {
    let t = 0.5 * (towards.y + 1.0);
    Vector::new(0.9, 0.92, 0.95) * (1.0 - t) + Vector::new(0.35, 0.55, 0.75) * t
}

fn reflect(d: Vector, n: Vector) -> Vector {
    d - n * (2.0 * d.dot(n))
}

/// A direction around `n` with the density of its cosine.
fn scatter(n: Vector, random: &mut Random) -> Vector {
    let (angle, r2) = (2.0 * std::f64::consts::PI * random.next(), random.next());
    let side = if n.x.abs() > 0.5 { Vector::new(0.0, 1.0, 0.0) } else { Vector::new(1.0, 0.0, 0.0) };
    let a = n.cross(side).unit();
    let b = n.cross(a);
    let r = r2.sqrt();
    (a * (r * angle.cos()) + b * (r * angle.sin()) + n * (1.0 - r2).sqrt()).unit()
}

/// Glass of index 1.5: reflected or refracted by chance, after Schlick (1994).
fn refract(d: Vector, n: Vector, entering: bool, random: &mut Random) -> Vector {
    let ratio = if entering { 1.0 / 1.5 } else { 1.5 };
    let cos = -d.dot(n);
    let k = 1.0 - ratio * ratio * (1.0 - cos * cos);
    let base = ((1.0 - ratio) / (1.0 + ratio)).powi(2);
    let mirrored = base + (1.0 - base) * (1.0 - cos).powi(5);
    if k < 0.0 || random.next() < mirrored {
        reflect(d, n)
    } else {
        (d * ratio + n * (ratio * cos - k.sqrt())).unit()
    }
}
