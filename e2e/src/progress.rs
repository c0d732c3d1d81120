//! Says what is going on: one line per stage with its time, and a running clock on a terminal.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Runs one stage under its name; prints the name with the time it took.
pub fn stage<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.set_message(name.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(200));
    if spinner.is_hidden() {
        println!("       ...  {name}");
    }
    let result = work();
    spinner.finish_and_clear();
    let outcome = if result.is_ok() { "" } else { ": failed" };
    println!("  {:>6.1} s  {name}{outcome}", start.elapsed().as_secs_f64());
    result
}

/// A remark under the current stage.
pub fn note(text: &str) {
    println!("            {text}");
}
