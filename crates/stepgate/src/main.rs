//! The command line of Stepgate.

use std::process::ExitCode;

use clap::Parser as _;
use stepgate::cli::Cli;
use stepgate::commands;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("STEPGATE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,stepgate=info")),
        )
        .with_writer(std::io::stderr)
        .init();
    // Paths, URLs and commands must survive copying, so lines are not wrapped.
    let unwrapped = |_: &_| -> Box<dyn miette::ReportHandler> {
        Box::new(miette::MietteHandlerOpts::new().wrap_lines(false).build())
    };
    if let Err(error) = miette::set_hook(Box::new(unwrapped)) {
        eprintln!("stepgate: {error}");
    }
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
            eprintln!("{:?}", failure.report);
            failure.code
        }
    }
}
