//! The Lucas–Lehmer test: 2^p - 1 is prime exactly when s(p-2) = 0, where s(0) = 4 and
//! s(n+1) = s(n)² - 2, all modulo 2^p - 1 (Lehmer 1930).

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let &[part, size] = numbers.as_slice() else {
        eprintln!(
            "usage: lucas-lehmer PART SIZE\ntests the exponents from PART × SIZE up to (PART + 1) × SIZE"
        );
        return ExitCode::from(2);
    };
    let (Some(from), Some(to)) =
        (part.checked_mul(size), part.checked_add(1).and_then(|next| next.checked_mul(size)))
    else {
        eprintln!("these numbers are too large");
        return ExitCode::from(2);
    };
    let mut progress = std::fs::File::create("/dev/progress").ok();
    for exponent in (from..to).filter(|n| is_prime(*n)) {
        if is_mersenne_prime(exponent) {
            println!("2^{exponent} - 1 is prime");
        }
        if let Some(file) = &mut progress {
            // The work of one exponent grows with its cube.
            let cube = |n: u32| f64::from(n).powi(3);
            let _ = writeln!(file, "{:.1}", 100.0 * (cube(exponent) - cube(from)) / (cube(to) - cube(from)));
        }
    }
    ExitCode::SUCCESS
}

fn is_prime(n: u32) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

fn is_mersenne_prime(p: u32) -> bool {
    if p == 2 {
        return true;
    }
    let limbs = (p as usize).div_ceil(32);
    let mut s = vec![0u32; limbs];
    s[0] = 4;
    let mut square = vec![0u32; 2 * limbs];
    for _ in 0..p - 2 {
        square_into(&s, &mut square);
        reduce(&square, p, &mut s);
        subtract_two(&mut s, p);
    }
    s.iter().all(|limb| *limb == 0)
}

fn square_into(a: &[u32], out: &mut [u32]) {
    out.fill(0);
    for (i, &x) in a.iter().enumerate() {
        let mut carry = 0u64;
        for (place, &y) in out[i..].iter_mut().zip(a) {
            let sum = u64::from(*place) + u64::from(x) * u64::from(y) + carry;
            *place = sum as u32;
            carry = sum >> 32;
        }
        out[i + a.len()] = carry as u32;
    }
}

/// `wide` modulo 2^p - 1: the low p bits plus the rest, until it fits. The modulus itself is zero.
fn reduce(wide: &[u32], p: u32, out: &mut [u32]) {
    let (limb, bit) = ((p / 32) as usize, p % 32);
    let low_of = |i: usize| {
        if i == limb {
            wide[i] & mask(bit)
        } else if i < limb {
            wide[i]
        } else {
            0
        }
    };
    let high_of = |i: usize| {
        let at = |j: usize| u64::from(wide.get(j).copied().unwrap_or(0));
        ((at(i + limb) | at(i + limb + 1) << 32) >> bit) as u32
    };
    let mut carry = 0u64;
    for (i, place) in out.iter_mut().enumerate() {
        let sum = u64::from(low_of(i)) + u64::from(high_of(i)) + carry;
        *place = sum as u32;
        carry = sum >> 32;
    }
    // The sum is below 2^(p+1), so at most one bit lies above p.
    let top = out.len() - 1;
    let over = if bit == 0 { carry as u32 } else { out[top] >> bit };
    if bit != 0 {
        out[top] &= mask(bit);
    }
    add_small(out, over);
    if is_modulus(out, p) {
        out.fill(0);
    }
}

fn mask(bits: u32) -> u32 {
    if bits == 0 { u32::MAX } else { (1 << bits) - 1 }
}

fn add_small(a: &mut [u32], mut n: u32) {
    for limb in a {
        let (sum, overflow) = limb.overflowing_add(n);
        *limb = sum;
        n = u32::from(overflow);
    }
}

fn is_modulus(a: &[u32], p: u32) -> bool {
    let (last, rest) = a.split_last().expect("there is at least one limb");
    rest.iter().all(|limb| *limb == u32::MAX) && *last == mask(p % 32)
}

fn subtract_two(a: &mut [u32], p: u32) {
    let is_small = a[1..].iter().all(|limb| *limb == 0) && a[0] < 2;
    if is_small {
        // Below two it wraps: a - 2 + (2^p - 1).
        let value = a[0];
        a.fill(u32::MAX);
        let top = a.len() - 1;
        a[top] = mask(p % 32);
        // The modulus ends in a one bit at least twice, so this cannot borrow.
        a[0] -= 2 - value;
        return;
    }
    let mut borrow = 2;
    for limb in a {
        let (difference, underflow) = limb.overflowing_sub(borrow);
        *limb = difference;
        borrow = u32::from(underflow);
        if borrow == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_exponents_and_no_others() {
        // <https://oeis.org/A000043>
        let found: Vec<u32> = (2..700).filter(|n| is_prime(*n) && is_mersenne_prime(*n)).collect();
        assert_eq!(found, [2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607]);
    }
}
