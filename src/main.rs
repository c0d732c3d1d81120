//! Entry point of `twin`, also installed as `kubectl-twin`.

use std::process::ExitCode;

fn main() -> ExitCode {
    safetytwin::cli::main()
}
