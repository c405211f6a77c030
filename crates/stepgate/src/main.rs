//! The command line of Stepgate.

use std::process::ExitCode;

use clap::Parser as _;
use stepgate::cli::Cli;
use stepgate::commands;

fn main() -> ExitCode {
    end_quietly_with_the_pipe();
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("STEPGATE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,stepgate=info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("stepgate: the runtime cannot be started: {error}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(commands::run(cli.command)) {
        Ok(code) => code,
        Err(failure) => {
            commands::tell(failure.report.as_ref());
            failure.code
        }
    }
}

/// `stepgate audit tail | head` ends when `head` has seen enough; that is no fault.
fn end_quietly_with_the_pipe() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            std::process::exit(0);
        }
        usual(panic);
    }));
}
