//! Each kernel is also an export, so that a plain engine can call it without WASI.

fn main() {
    if std::env::var("TARGET").is_ok_and(|target| target.starts_with("wasm32")) {
        for name in [
            "matmul", "hash", "sieve", "collatz", "sort", "fib", "saxpy", "adler", "jacobi", "lu", "floyd",
            "bodies", "scan",
        ] {
            println!("cargo:rustc-link-arg=--export=kernel_{name}");
        }
    }
}
