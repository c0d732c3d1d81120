//! The helper of level full, which alone keeps CAP_SYS_PTRACE: as little code as can be beside it.

use std::path::Path;
use std::process::ExitCode;

use safetytwin_agent::collect::processes::helper::serve;

const USAGE: &str =
    "twin-agent-ptrace: started by twin-agent --level full, to answer on standard output what it asks on
standard input: where exe and cwd of a process lead, and which sockets it has open

usage: twin-agent-ptrace PROC
example: echo \"all 1\" | twin-agent-ptrace /proc";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(proc), None) = (arguments.next(), arguments.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if proc == "--help" || proc == "-h" {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match serve(Path::new(&proc)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twin-agent-ptrace: failed to serve the agent: {error}");
            ExitCode::FAILURE
        }
    }
}
