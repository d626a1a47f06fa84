//! How the program is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The addresses that the program itself puts right as it starts, packed: half a megabyte less to read and to keep.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
